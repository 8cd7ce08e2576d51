"""What a PyTorch run did beside what autograd recorded: each call of an operation, and marks. Also what a model holds.

`trace.calls` is one flat list in the order of the run, `trace.held` the tensors of the modules at its end. They answer
where a gradient was lost; what autograd recorded stands in `trace.entries` and the events.
"""

from __future__ import annotations

from dataclasses import dataclass

from .events import Entry, Source, Value

# What a call can be. An operation is what gives tensors; all else changes or tells something about them.
OPERATION = "operation"
LEAVES = "leaves torch"  # item(), float(), tolist(), numpy(): plain Python from here on
NEW_LEAF = "new leaf"  # torch.tensor(...), as_tensor, from_numpy, nn.Parameter(...)
COPY = "copy"  # by copy.deepcopy
IN_PLACE = "in place"
FUNCTION = "function"  # a torch.autograd.Function
GRAD_MODE = "grad mode"  # no_grad, enable_grad, set_grad_enabled: `numbers` has True or False
REQUIRES_GRAD = "requires_grad"
GRAD_SET = "grad set"  # p.grad = ..., or a change in place of what .grad holds
HOOK = "hook"  # one was registered
ATTRIBUTE = "attribute"  # a tensor or a module became an attribute of a module: `note` is its path
MODULE = "module"  # the forward of one begins; `note` has "eval" where it does not train, "no_sync" of a DDP
ZERO_GRAD, CLIP, SCALE, UNSCALE, STEP = "zero_grad", "clip", "scale", "unscale", "step"
COLLECTIVE = "collective"  # of torch.distributed; see ranks.py for what went in and came out
MODE = "mode"  # train() or eval() of a module: `name` says which, `note` the class
NO_SYNC = "no_sync"  # of a DistributedDataParallel
COMPILED = "compiled"  # code of torch.compile ran: what it did inside was not seen
PASS = "pass"  # one begins, of a run on several ranks
WITHIN = ("", "hook", "backward", "recomputed")  # of what part of a run: the last by a checkpoint
CALL_KINDS = (OPERATION, LEAVES, NEW_LEAF, COPY, IN_PLACE, FUNCTION, GRAD_MODE, REQUIRES_GRAD, GRAD_SET, HOOK)
CALL_KINDS += (ATTRIBUTE, MODULE, ZERO_GRAD, CLIP, SCALE, UNSCALE, STEP, COLLECTIVE, MODE, NO_SYNC, COMPILED, PASS)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call, or mark. `id`: its place in trace.calls; `event`: index of the event that it came before.

    `name`: of the function (`linear`, `detach`, `data`, `Cube`); `inputs`, `outputs`: the tensors it was given and
    gave; a value changed in place is a new Value from then on. `entries`: what autograd recorded of it, () where it
    followed nothing. `module`: path of the module whose forward it ran in ("" is the model itself). `source`: the
    innermost line that is the user's own, `stack` all of them, innermost first. `via`: names of what lies between the
    line and the call in torch (`clip_grad_norm_`). `grad`: whether gradients were on. `inside`: id of the call of a
    custom Function whose forward it ran in. `within`: one of WITHIN, "" in the forward part; else `pass_id` is
    the pass. `numbers`: the plain numbers among its arguments. `note` of a step: what each group of parameters is moved
    with, `12: lr=0.1, momentum=0.9; 3: lr=0.01`.
    """

    id: int
    kind: str
    name: str
    event: int
    module: str = ""
    source: Source | None = None
    stack: tuple[Source, ...] = ()
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    entries: tuple[Entry, ...] = ()
    via: tuple[str, ...] = ()
    grad: bool = True
    followed: bool = False  # autograd follows some of what it gave, whether or not a pass came there
    inside: int | None = None
    within: str = ""
    pass_id: int | None = None
    numbers: tuple[float, ...] = ()
    note: str = ""
    decorated: Source | None = None  # grad mode: the function that was decorated with it
    aliases: tuple[Value, ...] = ()  # in place: other tensors with the same memory, which it changed as well
    leaves: tuple[Value, ...] = ()  # those whose .grad it set or changed; all that an optimiser holds

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(value.name for value in self.inputs)})"


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """What a pass did to one leaf's `.grad`: norms before and after, None for no gradient."""

    pass_id: int
    value: Value
    before: float | None
    after: float | None
    accumulates: bool = True  # False: autograd.grad, or backward(inputs=...) without it: .grad is left alone
    before_kind: str = ""  # "nan" or "inf" where the norm says nothing
    after_kind: str = ""
    came: Value | None = None  # what the pass brought to it; a hook of the leaf's own may have made something else


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One tensor of a module at the end of the run.

    `kind`: parameter, buffer, attribute (a plain tensor), listed (in a list, tuple or dict that registers nothing).
    `value`: what it is in the trace, None where nothing touched it. `grad`: none, zero, nan, tiny, huge or value;
    `norm`: of its gradient. `zeros`: which share of the gradient's elements is zero, None where that was not counted.
    `zero_rows`: those of its first dimension whose gradient is zero throughout, where others are not. `made_at`: the
    line that set it, if it was seen or stands in the class. `hooks`: lines of hooks on it.
    `optimizers`: names of the optimisers, seen in the run, that hold it. `used_at`: lines of the module's class that
    would use it, [(line, line of the `if` around it or the same)].
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    is_leaf: bool
    value: Value | None = None
    grad: str = "none"
    norm: float | None = None
    zero_rows: tuple[int, ...] = ()
    zeros: float | None = None
    made_at: Source | None = None
    hooks: tuple[Source, ...] = ()
    optimizers: tuple[str, ...] = ()
    used_at: tuple[Source, ...] = ()
    branch_at: tuple[Source, ...] = ()
    frozen_at: Source | None = None
    retains: bool = False  # retain_grad() was called
    set_at: Source | None = None  # the line that gave it other numbers before the run, if the source says so
