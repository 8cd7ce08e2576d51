"""What a diagnosis passes over: a gradient that is missing or zero because somebody wants it so, as a rule."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Held
from .answer import Cause
from .run import Run


def is_meant(run: Run, held: Held, state: str, cause: Cause) -> bool:
    if cause.meant:
        return True
    if state != "none":
        return False
    if cause.cause == "frozen":
        return all(link.event is None for link in cause.chain)  # from before the run
    if cause.cause == "non_leaf":
        # what came from before: nothing can reach what it was made of
        return held.value is None or run.graph.call_giving(held.value) is not None
    if cause.cause == "no_grad":
        return _is_trained_by_none(run, held) or _only_looked_up(run, held)
    if cause.cause in ("detach", "data") and _is_trained_by_none(run, held):
        return _is_changed_by_hand(run, held)
    if cause.cause == "unused":
        return _is_routed_elsewhere(run, held) or (_is_trained_by_none(run, held) and _is_changed_by_hand(run, held))
    return cause.cause == "not_a_parameter"


def _is_trained_by_none(run: Run, held: Held) -> bool:
    """Optimisers step in this run, and none of them holds it: a teacher, a target network, an average."""
    return bool(run.steps) and not held.optimizers


def _is_changed_by_hand(run: Run, held: Held) -> bool:
    """Itself, or what shares its memory: an average is written to through detach()."""
    writes = (call for call in run.trace.calls if call.kind == kinds.IN_PLACE)
    return held.value is not None and any(held.value in call.outputs or held.value in call.aliases for call in writes)


def _only_looked_up(run: Run, held: Held) -> bool:
    """All forwards of a module around it run in eval mode and without gradients."""
    around = [run.modules_run[path] for path in _paths_around(held.path) if path in run.modules_run]
    return any(all("eval" in mark.note and not mark.grad for mark in marks) for marks in around)


def _paths_around(path: str) -> list[str]:
    """`["blocks", "blocks.0"]` of `blocks.0.weight`"""
    parts = path.split(".")[:-1]
    return [".".join(parts[: k + 1]) for k in range(len(parts))]


def _is_routed_elsewhere(run: Run, held: Held) -> bool:
    """It belongs to one of several like modules, of which its owner chose others by a comparison or an index."""
    for path in _paths_around(held.path):
        owner, _, item = path.rpartition(".")
        siblings = [p for p in run.modules_run if p.rpartition(".")[0] == owner and p.rpartition(".")[2].isdigit()]
        if item.isdigit() and path not in run.modules_run and siblings:
            return any(_chooses(call) for call in run.flowing_in.get(owner.rpartition(".")[0], ()))
    return False


def _chooses(call: kinds.Call) -> bool:
    """It gives whole numbers, or True and False, of numbers that were computed."""
    is_asked = any(x.dtype.startswith(("float", "bfloat")) for x in call.inputs)
    return is_asked and any(x.dtype.startswith(("int", "bool", "uint")) for x in call.outputs)
