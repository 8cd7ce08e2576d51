"""`record_torch()`: what a PyTorch run does, as a `Trace`, without changing a bit of it.

Hooks and short rows while the run goes on; `tell` makes events and calls of them when somebody reads the trace. What
happens is told by `patches`: passes, custom Functions, modules, and each operation (operations.py has what is noted of
one). Whatever goes wrong in here is a notice of the trace, and nothing of the run's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch.autograd import graph as autograd_graph

from simplegrad.torch_bridge.finite import Eyes
from simplegrad.torch_bridge.keep import PATIENCE, kept_in
from simplegrad.torch_bridge.letting_go import let_go
from simplegrad.torch_bridge.model import Models, Seen, locals_of, parameters_of
from simplegrad.torch_bridge.operations import (
    APPLIES,
    CHANGES,
    GIVES,
    GRAD_MODE,
    LEAVES,
    PICKS,
    RESERVES,
    SETS,
    SHARES,
    SKIP,
    SORTS,
    Tensors,
    address_of,
    measure,
    named,
    sort_of,
    tensors_of,
    version_of,
)
from simplegrad.torch_bridge.patches import (
    COMPILED,
    Watcher,
    is_distributed,
    is_watching,
    opened_here,
    operations_off,
    operations_on,
    watched_by,
)
from simplegrad.torch_bridge.ranks import Ranks
from simplegrad.torch_bridge.rows import NO_GRADIENT, Gradient, Kept, Node
from simplegrad.torch_bridge.settings import settings_of
from simplegrad.torch_bridge.tell import Teller
from simplegrad.torch_bridge.where import OWN, Context, Site, innermost, kind_of, raised_at, running, site
from simplegrad.torch_private import (
    RECORD,
    BackwardCFunction,
    DisableTorchFunction,
    changes,
    function_name,
    function_of,
    is_any_autocast,
    needs,
    outputs_of,
    runs_alone,
    sequence_number,
    transforms_active,
)
from simplegrad.trace import Trace
from simplegrad.trace.recorder import said

VALUES = ("none", "norm", "full")
MOST_NODES = 100_000
MOST_CALLS = 1_000_000
MOST_CALLERS = 4  # functions that are read for what they did to a model before the run
# Backwards that hand on the same numbers in another shape.
_SAME_NUMBERS = {f"{name}Backward0" for name in ("T", "Transpose", "View", "Permute", "UnsafeView", "Unsqueeze", "Neg")}
_LEAF = "torch::autograd::AccumulateGrad"
_is_grad_enabled = torch.is_grad_enabled
_Tensor = torch.Tensor


@contextlib.contextmanager
def record_torch(
    *modules: torch.nn.Module | str,
    values: str | None = None,
    limit: int = MOST_NODES,
    names: Mapping[str, torch.Tensor] | None = None,
    save: str | os.PathLike[str] | None = None,
    patience: float = PATIENCE,
) -> Iterator[Trace]:
    """`with record_torch(model) as trace:` records what runs inside, in this thread or task, and the passes it begins.

    `modules`: their parameters, buffers and attributes are known by their paths; those whose forward runs inside are
    found by themselves. `values`: "none" keeps shapes and lines; "norm" (the default) also the norm of each result and
    gradient, which operations ran without autograd, and what became of each `.grad`; "full" also the gradients
    themselves, by reference. `limit`: how many autograd nodes at most; past it the run goes on and the trace ends with
    LimitReached. `names`: what to call tensors that neither a module nor a local variable names. `values` may come
    first, as a string. `save`: where to write the trace at the end, also of a run that raises; `{rank}` in it becomes
    this process's rank under torch.distributed, and there it is written too when nothing has happened for `patience`
    seconds, as where a rank waits for another that never comes.

    A run that raises keeps all that came before, with the error last. What cannot be recorded (torch.func, say) is
    told in `trace.notices`, and runs as it does without; code of `torch.compile` is one entry. Raises ValueError for
    another `values`, TypeError for what is no module.
    """
    needs(RECORD)
    words = [module for module in modules if isinstance(module, str)]
    given = [module for module in modules if not isinstance(module, str)]
    values = values or (words[0] if words else "norm")
    if values not in VALUES:
        raise ValueError(f"values={values!r}: expected one of {', '.join(map(repr, VALUES))}")
    for module in given:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"record_torch takes modules, and values as a word; this is a {type(module).__name__}")
    recorder = TorchRecorder(values, limit, given, names or {}, outermost=sys._getframe(2))  # past contextlib
    trace = recorder.trace
    with kept_in(recorder, save, patience), recorder.attached():
        try:
            yield trace
        except BaseException as error:
            if recorder.ranks is not None:
                recorder.ranks.failed(error)
            recorder.log.append(("failed", error, raised_at(error)))
            raise


@dataclass(eq=False)
class TorchRecorder(Watcher):
    """Everything seen so far. `log` holds one tuple for each thing that happened, in order."""

    sees_operations = True

    values: str
    limit: int
    roots: list[Any]
    given: Mapping[str, torch.Tensor]
    log: list[tuple] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    lines: dict[int, Site] = field(default_factory=dict)  # by sequence number
    known: dict[int, int] = field(default_factory=dict)  # id of a node's wrapper -> index
    alive: list[Any] = field(default_factory=list)  # the wrappers: the id of a dropped one is reused at once
    leaves: dict[int, torch.Tensor] = field(default_factory=dict)  # node index -> the variable
    names: dict[int, str] = field(default_factory=dict)
    pending: list[Any] = field(default_factory=list)  # nodes seen on gradients, not yet looked at
    called: dict[tuple[int, int], str] = field(default_factory=dict)  # names of nodes' outputs
    outputs: list[tuple] = field(default_factory=list)  # (node, output, name) of local tensors
    hooked: dict[int, Any] = field(default_factory=dict)  # node index -> torch's dictionary with its hook
    hook_ids: dict[int, int] = field(default_factory=dict)  # node index -> the hook's key there
    shapes: dict[torch.Size, tuple[int, ...]] = field(default_factory=dict)
    measured: dict[int, tuple] = field(default_factory=dict)  # id of a gradient -> itself, norm, flaw; within a pass
    held: dict[int, tuple] = field(default_factory=dict)  # leaf -> id and version of its .grad, norm, flaw
    indexed: set[int] = field(default_factory=set)  # numbers of tensors of which only some rows were read
    outermost: Any = None  # the frame that began the recording
    around: frozenset[Any] = frozenset()  # it, and those that it was called by, as far as lines are told
    began: tuple = ()  # code of the functions that led to the recording, the innermost first
    full: bool = False
    is_over: bool = False  # watches no longer
    is_unseen: bool = False  # a pass runs whose beginning could not be noted
    context: Context | None = None  # what runs: a module, a pass, a Function
    eyes: Eyes | None = None  # looks at what operations give, unless values is "none"
    ranks: Ranks | None = None  # notes what ranks share, where this process is one of several

    def __post_init__(self) -> None:
        self.began = tuple(code for code, _ in site(self.outermost, None).own)[:MOST_CALLERS]
        if kind_of(self.outermost.f_code.co_filename) == OWN:
            self.around = running(self.outermost)
        self.outermost = None  # its locals are not to live on
        self.trace = Trace()
        self.trace.kind = "torch"
        self.trace._builder = Teller(self)
        self.notices = self.trace._notices
        self.follows, self.is_full = self.values != "none", self.values == "full"
        self.tensors = Tensors(self.follows)
        self.models = Models(self.roots, self.given, self.log)
        if is_distributed():
            self.ranks = Ranks(self)
        self.notices.append("Operations that no backward pass reached are not shown.")
        if not self.follows:
            self.notices.append("No numbers were kept, so this trace cannot show where a NaN is born.")
        else:
            self.eyes = Eyes(self.log, lambda frame: site(frame, self.context, self.around))
            self.notices.append(
                "PyTorch's own formulas for gradients are seen from outside only: what comes in and what goes out. For "
                "a NaN that is born inside one, the formula is named, and the forward line that it belongs to."
            )

    # -- attaching -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Watch for the duration; the graph is let go of afterwards."""
        try:
            with watched_by(self):
                self.opened = opened_here()
                yield
        finally:
            with self.careful("The state of the modules at the end could not be read"):
                self.name_leaves()
                if self.follows:
                    if self.ranks is not None:
                        self.ranks.finish()
                    self.models.finish(self)
            self._let_go()

    @contextlib.contextmanager
    def careful(self, what: str) -> Iterator[None]:
        """What goes wrong in here must not reach the run that is watched: it is told in the trace instead."""
        try:
            yield
        except Exception as error:
            self.trouble(what, error)

    def trouble(self, what: str, error: Exception) -> None:
        self.notice(f"{what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def notice(self, text: str) -> None:
        if text not in self.notices and len(self.notices) < 100:
            self.notices.append(text)

    def is_transformed(self) -> bool:
        """Whether this runs inside of torch.func, whose tensors are wrappers that may not be looked into."""
        if not transforms_active():
            return False
        self.notice("What ran inside torch.func (vmap, grad, jacrev, hessian, ...) is not shown: its graph is its own.")
        return True

    def _let_go(self) -> None:
        """Indices instead of nodes: a graph, and what it saved, must not live on in a trace."""
        hooked = self.hooked
        for wrapper, node in zip(self.alive, self.nodes, strict=True):
            if node.leaf is None:
                node.edges = self.edges_of(node)
                if node.index not in hooked:  # of the others, hooks have seen the shapes
                    with self.careful("A shape could not be read"):
                        node.shapes = tuple(tuple(meta.shape) for meta in outputs_of(wrapper))
        for index, hooks in hooked.items():
            hooks.pop(self.hook_ids[index], None)
        self.pending.clear()
        order = sorted([(node.sequence, node.index) for node in self.nodes])
        wrappers, self.alive = [self.alive[index] for _, index in order], []
        named = {index for index, _ in self.called}
        known = [at for at, (_, index) in enumerate(order) if index in named]
        let_go(wrappers, lambda: self._places([index for _, index in order]), known)
        for kept in (self.hooked, self.hook_ids, self.leaves, self.measured, self.held, self.outputs):
            kept.clear()
        self.tensors.living.clear()
        self.tensors.by_address.clear()
        self.roots, self.given, self.context, self.around = [], {}, None, frozenset()
        # who has the trace keeps what was logged; without these, no cycle is left for Python's collector to find
        self.eyes = self.trace = self.ranks = None
        self.is_over = True

    def _places(self, order: list[int]) -> list[list[int]]:
        """For each node of an order the places of those that it leads to."""
        place = {index: at for at, index in enumerate(order)}
        return [[place[edge[0]] for edge in self.nodes[index].edges if edge] for index in order]

    def name_leaves(self) -> None:
        """Names of parameters, by the modules that have them; what was given comes first, a local name last."""
        self.models.resolve()
        given = {id(tensor): name for name, tensor in self.given.items()}
        for index, variable in self.leaves.items():
            shape, dtype, name, *more = self.nodes[index].leaf
            name = given.get(id(variable)) or self.models.name_of(variable) or name
            self.nodes[index].leaf = (shape, dtype, name, *more)

    def edges_of(self, node: Node) -> tuple[tuple[int, int] | None, ...]:
        """Where a node's input gradients go, by index."""
        index_of = self.known.get
        found = [(index_of(id(following)), output) for following, output in node.edges]
        return tuple([edge if edge[0] is not None else None for edge in found])

    # -- what patches tell: operations ---------------------------------------------------------------------------

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        sort = SORTS.get(func)
        if sort is None:
            sort = sort_of(func)
        if sort == SKIP or (self.quiet and self._is_told_as_one(sort, args)):
            return plain(*args, **kwargs) if kwargs else plain(*args)
        before = sequence_number()
        result = plain(*args, **kwargs) if kwargs else plain(*args)
        if transforms_active():
            self.is_transformed()
            return result
        try:
            after = sequence_number()
            if self.follows:
                self._noted(sort, func, args, kwargs, result, before, after, sys._getframe(1))
            elif after != before:
                self._note_lines(before, after, site(sys._getframe(1), self.context, self.around))
        except Exception as error:
            self.trouble(f"A call of {named(func)} could not be noted", error)
        return result

    def _noted(
        self, sort: int, func: Any, args: tuple, kwargs: dict, result: Any, before: int, after: int, frame: Any
    ) -> None:
        if sort == SETS and func.__self__.__name__ not in ("grad", "data", "requires_grad"):
            return
        with DisableTorchFunction():
            where = site(frame, self.context, self.around)
            if after != before:
                self._note_lines(before, after, where)
            found = [result] if isinstance(result, _Tensor) else self._found(sort, func, args, result)
            if not found and sort == GIVES:
                return
            ins, numbers = self._arguments(args, kwargs, found)
            rows, changes = self.tensors.rows, sort == CHANGES
            first = len(rows)
            if sort == RESERVES:
                outs = tuple([self.tensors.reserved(tensor) for tensor in found])
            else:
                outs = tuple([self.tensors.result(tensor, changes, ins) for tensor in found])
            flawed = [number for number in outs if number >= first and rows[number].flaw]
            if sort == PICKS:
                self.indexed.update(ins)
            elif sort in (LEAVES, SHARES):
                self.tensors.may_change_unseen(args[0])
            filled = self._gradients_changed(sort, func, args) if sort in (SETS, CHANGES) else ()
            told = kwargs.get("reduction") if kwargs else None
            if self.ranks is not None and after != before:
                told = self.ranks.counted(result) or told
            mode = _is_grad_enabled(), is_any_autocast(), told
            self.log.append(("call", sort, func, ins, outs, numbers, before, after, where, mode, self.depth, filled))
            if flawed:
                self.eyes.see(func, args, kwargs, result, before, frame)

    compiling: Any = None  # autograd's sequence number and the Site where code of torch.compile began
    depth = 0  # how many forwards of custom Functions run
    quiet = ""  # "zero_grad" or "step" runs, which is told as one
    stepping: Any = None  # the optimizer whose step runs
    evaluations = 0  # how often that has run its closure

    def _is_told_as_one(self, sort: int, args: tuple) -> bool:
        """Whether what runs is a part of zero_grad() or step(); of a step its closure is none, which runs with
        gradients. One that runs it several times moves the parameters in between: each time it is a step."""
        if self.quiet == "step":
            if sort == GRAD_MODE and args and args[0] and not _is_grad_enabled():
                self.evaluations += 1
                if self.evaluations > 1:
                    self._optimizer("step", self.stepping, False)
            return not _is_grad_enabled()
        return True

    def _found(self, sort: int, func: Any, args: tuple, result: Any) -> list[torch.Tensor]:
        """The tensors that a call gave or changed."""
        if result is None and args and (sort in (SETS, CHANGES) or func.__name__ == "__setitem__"):
            return list(tensors_of(args[0]))
        return list(tensors_of(result))

    def _arguments(self, args: tuple, kwargs: dict, found: list[torch.Tensor]) -> tuple[tuple, tuple]:
        """Numbers of the tensors that a call was given, as they were before it; and the plain numbers."""
        ins, numbers, living, rows = [], [], self.tensors.living, self.tensors.rows
        for x in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(x, _Tensor):
                known = living.get(id(x))
                is_same = known is not None and known[0]() is x and rows[known[1]].version == version_of(x)
                ins.append(known[1] if is_same else self._before(x, found))
            elif isinstance(x, tuple | list | dict):
                ins += [self._before(tensor, found) for tensor in tensors_of(x)]
            elif isinstance(x, int | float):
                numbers.append(x)
        return tuple(ins), tuple(numbers)

    def _before(self, x: torch.Tensor, found: list[torch.Tensor]) -> int:
        """Of a tensor that has no number, or was changed since it got it: by this call, which gives it, or before."""
        for tensor in found:
            if tensor is x:
                known = self.tensors.known(x)
                if known is not None:
                    return known
        return self.tensors.number(x)

    def _note_lines(self, before: int, after: int, where: Site) -> None:
        """Nodes numbered since `before` were made at this line, unless a line further in is known."""
        lines = self.lines
        for number in range(before, after):
            if number not in lines:
                lines[number] = where

    def _gradients_changed(self, sort: int, func: Any, args: tuple) -> tuple[int, ...]:
        """Numbers of the leaves whose .grad this call set, or changed in place."""
        if sort == SETS:
            return (self.tensors.number(args[0]),) if func.__self__.__name__ == "grad" else ()
        tensors = list(tensors_of(args[0])) if args else []
        changed = {id(tensor) for tensor in tensors}
        leaves = [index for index, (grad, *_) in self.held.items() if id(grad()) in changed]
        if self.tensors.unseen and not leaves:
            leaves = self._gradients_at({address_of(tensor) for tensor in tensors} & self.tensors.unseen)
        return tuple([self.nodes[index].leaf[6] for index in leaves])

    def _gradients_at(self, addresses: set[int]) -> list[int]:
        """Leaves whose .grad lies there, changed through .data: what was read of it holds no longer."""
        found = [i for i, (grad, *_) in self.held.items() if address_of(grad()) in addresses] if addresses else []
        for index in found:
            self.held[index] = (self.held[index][0], -1, *self.held[index][2:])
        return found

    # -- what patches tell: modules, Functions, parameters, optimisers ------------------------------------------------

    def call_module(self, plain: Callable, module: Any, args: tuple, kwargs: dict) -> Any:
        outer, context, is_whole, before = self.context, None, False, 0
        try:
            seen, where = self.models.modules.get(id(module)), site(sys._getframe(1), outer, self.around)
            if seen is None or seen.reference() is not module:
                seen = self.models.runs(module, outer)
            self.context = context = Context("module", seen, outer, where, sys._getframe())
            if self.follows:
                self._module(module, seen, where)
            elif seen.is_torchs and runs_alone(module) and not transforms_active():
                before, is_whole = sequence_number(), operations_off()
        except Exception as error:
            self.trouble("A module could not be noted", error)
        try:
            return plain(module, *args, **kwargs)
        finally:
            if is_whole:  # all of it happened where the module was called
                operations_on()
                self._note_lines(before, sequence_number(), Site((), context, is_inside=True))
            if context is not None:
                self.leave(context)

    def _module(self, module: Any, seen: Seen, where: Site) -> None:
        if self.ranks is not None:
            self.ranks.module_begins(module)
        keeps = not vars(module).get("require_backward_grad_sync", True)  # of a DDP; getattr would search
        self.log.append(("module", seen, where, (not module.training, keeps, _is_grad_enabled())))

    def leave(self, context: Context) -> None:
        """What ran is over."""
        context.frame = None
        self.context = context.outer

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        if self.is_transformed():
            return plain(*args, **kwargs)
        outer, before, births = self.context, sequence_number(), self.eyes.births if self.eyes else 0
        where = site(sys._getframe(1), outer, self.around)
        row = len(self.log)
        if self.follows:
            self.log.append(())  # its own place is before what runs in it
        self.context = context = Context("function", cls, outer, where, sys._getframe())
        self.depth += 1
        inside = self.eyes.enter(before) if self.eyes else None
        try:
            outputs = plain(*args, **kwargs)
        finally:
            self.depth -= 1
            self.leave(context)
            if self.eyes:
                self.eyes.leave(inside)
        with self.careful(f"A call of {function_name(cls)} could not be noted"), DisableTorchFunction():
            after = sequence_number()
            self._note_lines(before, after, where)
            if self.follows:
                found = list(tensors_of(outputs))
                given, numbers = self._arguments(args, kwargs, found)
                outs = tuple([self.tensors.result(tensor) for tensor in found])
                mode = _is_grad_enabled(), is_any_autocast(), None
                called = ("call", APPLIES, cls, given, outs, numbers, before, after, where, mode, self.depth, ())
                self.log[row] = called
                if any(self.tensors.rows[number].flaw for number in outs):
                    self.eyes.applied(cls, args, outputs, before, sys._getframe(1), births)
        return outputs

    def parameter_made(self, data: Any, parameter: Any) -> None:
        if self.follows and isinstance(data, _Tensor) and not transforms_active():
            with self.careful("A new parameter could not be noted"), DisableTorchFunction():
                ins, where = (self.tensors.number(data),), site(sys._getframe(1), self.context, self.around)
                outs = (self.tensors.add(parameter, is_given=False),)
                now, mode = sequence_number(), (_is_grad_enabled(), False, None)
                self.log.append(
                    ("call", GIVES, torch.nn.Parameter, ins, outs, (), now, now, where, mode, self.depth, ())
                )

    def inference_begins(self) -> None:
        if self.follows:
            with self.careful("inference_mode could not be noted"):
                where = site(sys._getframe(1), self.context, self.around)
                self.log.append(("inference", where))

    def mode_set(self, module: Any, is_training: bool) -> None:
        if self.follows:
            with self.careful("train() or eval() could not be noted"):
                where = site(sys._getframe(1), self.context, self.around)
                self.log.append(("mode", self.models.entry(module), is_training, where))

    def compiled_code(self, is_over: bool) -> None:
        with self.careful("Code of torch.compile could not be noted"):
            if not is_over:
                self.compiling = sequence_number(), site(sys._getframe(2), self.context, self.around)
                return
            (before, where), after = self.compiling, sequence_number()
            self._note_lines(before, after, where)
            self.log.append(("compiled", before, after, where))
            self.notice(
                "What ran inside of code that torch.compile made is not shown: the whole of it is one entry, or "
                "entries of the same line. Record the model as it is without torch.compile to see into it."
            )

    def no_sync_begins(self, ddp: Any) -> None:
        if self.follows:
            with self.careful("no_sync() could not be noted"):
                self.log.append(("no_sync", site(sys._getframe(1), self.context, self.around)))

    def collective(self, plain: Callable, name: str, group: Any, args: tuple, kwargs: dict) -> Any:
        if self.ranks is None or not self.follows:
            return plain(group, *args, **kwargs)
        return self.ranks.collective(plain, name, group, args, kwargs)

    def waited(self, plain: Callable, work: Any, args: tuple, kwargs: dict) -> Any:
        if self.ranks is None:
            return plain(work, *args, **kwargs)
        return self.ranks.waited(plain, work, args, kwargs)

    def attribute_set(self, module: Any, name: str, value: Any) -> None:
        if self.follows:
            with self.careful("An attribute of a module could not be noted"):
                self.models.attribute_set(module, name, value, site(sys._getframe(1), self.context, self.around), self)

    def optimizer_steps(self, optimizer: Any, is_over: bool) -> None:
        self.quiet = "" if is_over or not self.follows else "step"
        self.stepping, self.evaluations = None if is_over else optimizer, 0
        with self.careful("A step of an optimizer could not be noted"):
            self._optimizer("step", optimizer, is_over)

    def clear_gradients(self, plain: Callable, holder: Any, args: tuple, kwargs: dict) -> None:
        outer, self.quiet = self.quiet, "zero_grad" if self.follows else ""
        try:
            plain(holder, *args, **kwargs)
        finally:
            self.quiet = outer
        with self.careful("zero_grad() could not be noted"):
            if outer != "zero_grad":
                self._optimizer("zero_grad", holder, True)

    def _optimizer(self, what: str, holder: Any, is_over: bool) -> None:
        if not self.follows:
            return
        settings: tuple = ()
        with DisableTorchFunction():
            if isinstance(holder, torch.nn.Module):
                parameters = parameters_of(holder)
            else:
                parameters = [p for group in holder.param_groups for p in group["params"]]
                settings = settings_of(holder) if what == "step" and not is_over else ()
                self.models.optimized(holder, parameters)
            numbers = tuple([self.tensors.number(p) for p in parameters])
            if self.ranks is not None and what == "step" and not is_over:
                self.ranks.optimizer_steps(parameters)
        self.log.append(
            (
                "optimizer",
                what,
                type(holder).__name__,
                numbers,
                is_over,
                site(sys._getframe(2), self.context, self.around),
                settings,
            )
        )

    # -- what patches tell: passes ---------------------------------------------------------------------------------

    def run_backward(self, plain: Callable, outputs: Any, args: tuple, kwargs: dict) -> Any:
        if self.full or self.is_transformed():
            return plain(outputs, *args, **kwargs)
        outer, was_unseen, reached = self.context, self.is_unseen, None
        where = site(sys._getframe(1), outer, self.around)
        self.context = context = Context("pass", None, outer, where, sys._getframe())
        try:
            with self.careful("A pass could not be noted"), DisableTorchFunction():
                reached = self._begin(outputs, args, kwargs, where)
            self.is_unseen = reached is None
            results = plain(outputs, *args, **kwargs)
        except BaseException as error:
            if reached is not None:
                self._failed(error, where, reached)
            raise
        finally:
            self.is_unseen = was_unseen
            self.leave(context)
        if reached is not None:
            self._end(args, kwargs, results, reached)
        return results

    def _begin(self, outputs: Any, args: tuple, kwargs: dict, where: Site) -> list[int]:
        """Logs how the pass begins; indices of the leaves that it can reach."""
        self._learn_names(sys._getframe(2))
        roots = [self._edge(out) for out in outputs]
        reached = self._hook([node for node, _ in roots if node is not None])
        self._name_outputs()
        targets = [self._edge(x) for x in args[3] or ()]
        seeds = [self._gradient(seed) for seed in args[0]]
        places = [self._place(edge) for edge in roots]
        accumulates = not args[3] or bool(kwargs.get("accumulate_grad"))
        befores = [(index, *self.grad_of(index)) for index in reached] if self.follows else []
        wanted = [self._place(edge) for edge in targets]
        self.log.append(("begun", where, places, seeds, wanted, accumulates, befores))
        if self.ranks is not None and self.follows:
            with self.careful("What ranks share could not be noted"):
                self.ranks.pass_begins(where, reached, accumulates)
        return reached

    def _end(self, args: tuple, kwargs: dict, results: Any, reached: list[int]) -> None:
        wanted = args[3] and not kwargs.get("accumulate_grad")
        found, afters = [], []
        with self.careful("The end of a pass could not be noted"), DisableTorchFunction():
            found = [self._gradient(g) for g in results] if wanted else []
            self._look_at_pending()
            afters = [(index, *self.grad_of(index)) for index in reached] if self.follows else []
            if self.ranks is not None and self.follows:
                self.ranks.pass_ends(reached, is_over=True)
        self.measured.clear()
        self.log.append(("ended", found, afters))

    def _failed(self, error: BaseException, where: Site, reached: list[int]) -> None:
        """The pass raises, and the run may catch that. Only words of the error are kept: its frames hold the graph."""
        with self.careful("The end of a pass could not be noted"), DisableTorchFunction():
            if self.ranks is not None and reached:
                self.ranks.pass_ends(reached, is_over=False)
            self._look_at_pending()
        self.measured.clear()
        self.log.append(("pass_failed", type(error).__name__, said(error), raised_at(error) or innermost(where)))

    def grad_of(self, index: int) -> tuple:
        """(norm, flaw) of a leaf's .grad; both None for none. What was looked at before is known by its version."""
        grad = self.leaves[index].grad
        if grad is None:
            self.held.pop(index, None)
            return None, None
        version = changes(grad)
        known = self.held.get(index)
        if known is None or known[0]() is not grad or known[1] != version:
            known = self.held[index] = (weakref.ref(grad), version, *measure(grad))
        return known[2:]

    def _hook(self, roots: list[Any]) -> list[int]:
        """Register every node that can be reached, and a hook on each that is no leaf; indices of the leaves."""
        self._look_at_pending()
        first, seen, todo, leaves = len(self.nodes), set(), roots, []
        nodes, known, hooked, register = self.nodes, self.known, self.hooked, self._register
        hold, hook = self._hold, self._visited() if self.follows else self._visited_only()
        watched = self.ranks if self.follows else None
        while todo:
            node = todo.pop()
            index = known.get(id(node))
            if index is None:
                index = register(node)
            elif index in seen:
                continue
            seen.add(index)
            here = nodes[index]
            if here.leaf is not None:
                leaves.append(index)
                if watched is not None and index not in hooked:
                    hold(index, watched.watch_leaf(index, node))
                continue
            if index not in hooked and not self.full:
                hold(index, node.register_hook(MethodType(hook, index)))
            for following, _ in here.edges:
                if following is not None:
                    todo.append(following)
        self.log.append(("nodes_seen", first, len(nodes)))
        return leaves

    def _hold(self, index: int, handle: Any) -> None:
        """What takes a hook away again, without an object for each."""
        self.hooked[index], self.hook_ids[index] = handle.hooks_dict_ref(), handle.id

    def _visited(self) -> Callable:
        """One hook for all nodes of a pass; each is registered with its index."""
        log, guard, opened, gradient, nodes = self.log, DisableTorchFunction, self.opened, self._gradient, self.nodes

        def hook(index: int, outgoing: tuple, incoming: tuple) -> None:
            if opened_here() is not opened and not is_watching(self):  # another thread's pass over the same graph
                return
            if self.is_unseen:
                return
            try:
                with guard():
                    row, first = ["visited", index, sequence_number(), len(incoming)], None
                    for g in incoming:
                        first = gradient(g)
                        row += first or NO_GRADIENT
                    is_one = len(outgoing) == len(incoming) == 1 and first is not None
                    known = first[5:] if is_one and nodes[index].name in _SAME_NUMBERS else None
                    for g in outgoing:
                        row += gradient(g, known) or NO_GRADIENT
                    log.append(tuple(row))
            except Exception as error:
                self.trouble("A gradient could not be noted", error)

        return hook

    def _visited_only(self) -> Callable:
        """The same where no numbers are wanted."""
        log, guard, opened, bare = self.log, DisableTorchFunction, self.opened, self._bare

        def hook(index: int, outgoing: tuple, incoming: tuple) -> None:
            if opened_here() is not opened and not is_watching(self):
                return
            if self.is_unseen:
                return
            try:
                with guard():
                    row = ["visited", index, sequence_number(), len(incoming)]
                    for g in (*incoming, *outgoing):
                        row += NO_GRADIENT if g is None else bare(g)
                    log.append(tuple(row))
            except Exception as error:
                self.trouble("A gradient could not be noted", error)

        return hook

    def _bare(self, g: torch.Tensor) -> Gradient:
        """A gradient as a row, without numbers."""
        node = g.grad_fn
        if node is None:
            return None, 0, self._shape(g), g.dtype, None, None, None
        self.pending.append(node)
        return id(node), g.output_nr, self._shape(g), g.dtype, None, None, None

    def _shape(self, tensor: torch.Tensor) -> tuple[int, ...]:
        """One object for all tensors of a shape."""
        shape = tensor.shape
        known = self.shapes.get(shape)
        if known is None:
            known = self.shapes[shape] = tuple(shape)
        return known

    def apply_node(self, plain: Callable, node: Any, grads: tuple) -> Any:
        index, outer = self.known.get(id(node)), self.context
        if index is not None and not self.is_unseen:
            with self.careful("A backward could not be noted"), DisableTorchFunction():
                self.log.append(("visiting", index, [self._gradient(g) for g in grads]))
        where = site(sys._getframe(1), outer, self.around)
        self.context = context = Context("backward", type(node), outer, where, sys._getframe())
        try:
            return plain(node, *grads)
        finally:
            self.leave(context)

    def _look_at_pending(self) -> None:
        """Register the nodes that the last pass made: they hang on the gradients that it handed on."""
        first, todo = len(self.nodes), self.pending
        while todo:
            node = todo.pop()
            if id(node) not in self.known and not self.full:
                self._register(node)
                todo += [following for following, _ in node.next_functions if following is not None]
        if len(self.nodes) > first:
            self.log.append(("made_nodes", first, len(self.nodes)))

    # -- nodes and gradients -------------------------------------------------------------------------------------

    def _register(self, node: Any) -> int:
        name, index = node.name(), len(self.nodes)
        leaf = self._leaf(index, node.variable) if name == _LEAF else None  # which may raise: before all else
        self.known[id(node)] = index
        self.alive.append(node)
        if leaf is not None:
            self.nodes.append(Node(index, name, node._sequence_nr(), (), (), None, leaf))
            return index
        is_custom = isinstance(node, BackwardCFunction) and name != COMPILED
        custom = function_of(node) if is_custom else None
        self.nodes.append(Node(index, name, node._sequence_nr(), node.next_functions, (), custom))
        if index + 1 >= self.limit and not self.full:
            self.full = True
            self.log.append(("limit", self.limit))
        return index

    def _leaf(self, index: int, variable: torch.Tensor) -> tuple:
        """Nothing is kept of a variable that has no shape to read, which raises."""
        shape, name, kept = variable.shape, self.names.get(id(variable), ""), None
        norm = flaw = number = None
        if self.follows:
            number = self.tensors.number(variable)
            norm, flaw = self.tensors.rows[number].norm, self.tensors.rows[number].flaw
            kept = _kept(variable) if self.is_full else None
        self.leaves[index] = variable
        return shape, variable.dtype, name, kept, norm, flaw, number

    def _edge(self, tensor: Any) -> tuple[Any, int]:
        if isinstance(tensor, autograd_graph.GradientEdge):
            return tensor.node, tensor.output_nr
        if not tensor.requires_grad:  # the engine will say so, in its own words
            return None, 0
        edge = autograd_graph.get_gradient_edge(tensor)
        return edge.node, edge.output_nr

    def _place(self, edge: tuple[Any, int]) -> tuple[int, int] | None:
        node, output = edge
        if node is not None and id(node) not in self.known:
            self.pending.append(node)
            self._look_at_pending()
        return None if node is None else (self.known.get(id(node), -1), output)

    def _gradient(self, g: Any, measured: tuple | None = None) -> Gradient | None:
        """A gradient as a row; `measured`: its norm and flaw, if they are known."""
        if g is None:
            return None
        if not self.follows:
            return self._bare(g)
        node, output = g.grad_fn, 0
        if node is not None:
            self.pending.append(node)
            node, output = id(node), g.output_nr
        known = self.measured.get(id(g))  # what one node hands on is what the next is given
        if known is None or known[0]() is not g or known[1] != g._version:
            known = self.measured[id(g)] = (weakref.ref(g), g._version, *(measured or measure(g)))
        return node, output, self._shape(g), g.dtype, _kept(g) if self.is_full else None, known[2], known[3]

    def _learn_names(self, frame: Any) -> None:
        """What the lines that start a pass call their tensors: local names, and parameters of local modules."""
        while frame is not None and kind_of(frame.f_code.co_filename) != OWN:
            frame = frame.f_back
        given = {id(tensor): name for name, tensor in self.given.items()}
        self.names, self.outputs = given, []  # an id is only good while its tensor lives
        for name, value in locals_of(frame) if frame is not None else ():
            if isinstance(value, _Tensor):
                self.names.setdefault(id(value), name)
                if value.requires_grad and value.grad_fn is not None:
                    self.outputs.append((value.grad_fn, value.output_nr, name))
            elif isinstance(value, torch.nn.Module):
                self.models.seen(value, name)

    def _name_outputs(self) -> None:
        """Names for the nodes' outputs; the nodes are known by now."""
        for node, output, name in self.outputs:
            if id(node) in self.known:
                self.called.setdefault((self.known[id(node)], output), name)
        self.outputs = []


def _kept(tensor: torch.Tensor) -> Kept:
    kept = tensor.detach()  # counts the changes of the tensor, too
    return kept, version_of(kept)
