"""Why a gradient is not what its pass brought: cleared, clipped, unscaled, or replaced by a hook."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Value
from .answer import Cause, Link
from .broken import born
from .filled import by_hook, last_filled, norm_of
from .run import Run


def changed_after(run: Run, name: str, held: Held | None, value: Value, state: str) -> Cause | None:
    filled = last_filled(run, value)
    if filled is None:
        return None
    brought, after = norm_of(filled.came), filled.after
    end = run.end_of(filled.pass_id)
    is_bad = after is not None and is_in(state, after, filled.after_kind)
    if not is_bad:
        marks = run.marks(kinds.GRAD_SET, kinds.ZERO_GRAD, kinds.CLIP, kinds.UNSCALE)
        later = [call for call in marks if value in call.leaves and call.event >= end and not call.within]
        return _cleared(run, name, later[-1], filled) if later else None
    if brought is not None and not is_in(state, brought, "") and filled.before is None:
        return by_hook(run, name, held, value, filled.pass_id)
    return None


def is_in(state: str, norm: float, kind: str) -> bool:
    if kind:
        return state == "nan"
    return {"zero": norm == 0, "tiny": norm < 1e-6, "huge": norm > 1e3, "nan": norm == float("inf")}.get(state, False)


def _cleared(run: Run, name: str, call: Call, filled: Filled) -> Cause:
    came = Link(
        f"the pass fills it, norm {filled.after:.4g}" if filled.after else "the pass fills it",
        None,
        run.end_of(filled.pass_id),
    )
    if call.kind == kinds.CLIP:
        return _clipped(run, name, call, came)
    if call.kind == kinds.UNSCALE:
        return Cause("loss_scale", f"Dividing by the loss's scale again did this to {name}.", call.source, (came,))
    if call.kind == kinds.ZERO_GRAD or call.name in ("zero_", "_foreach_zero_", "fill_"):
        what = "zero_grad()" if call.kind == kinds.ZERO_GRAD else f"{call.name}()"
        sentence = f"The gradient of {name} was computed and then set to zero after backward, by {what}."
        return Cause("zeroed", sentence, call.source, (came, Link(what, call.source, call.event)))
    sentence = f"The gradient of {name} was changed after backward, by {call.name}."
    return Cause("zeroed", sentence, call.source, (came, Link(call.name, call.source, call.event)))


def _clipped(run: Run, name: str, call: Call, came: Link) -> Cause:
    way = next((each.split(".")[-1] for each in call.via if each.startswith("clip_grad.clip_grad")), "clip_grad_norm_")
    broken = [f for f in run.trace.filled if f.after_kind and any(f.value is leaf for leaf in call.leaves)]
    more, chain = "", [came]
    if broken:
        other = broken[-1]
        what = {"inf": "an infinity (inf)", "nan": "a NaN"}.get(other.after_kind, "no finite number")
        more = f": the gradient of {other.value.name} has {what}, so the total norm is not finite"
        birth = born(run, other.value, other)
        chain += [Link(f"{other.value.name} gets {what}", birth.source if birth else None, None)]
    sentence = (
        f"{way} made it so, because of another parameter{more}, and every gradient is multiplied by the same factor."
    )
    if not broken:
        sentence = f"{way} scaled the gradient of {name}, together with all the others."
    return Cause("clip", sentence, call.source, (*chain, Link(f"{way} changes all gradients", call.source, call.event)))
