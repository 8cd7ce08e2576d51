"""`record_torch()`: what autograd does inside, as a `Trace`, without changing a bit of it.

Hooks and short tuples while the run goes on; `tell` makes events of them when somebody reads the trace. Three things
are replaced for the duration: the function that starts the engine (to see each pass begin, and put a hook on every
node that it can reach), and the two `apply` of custom Functions (for lines, and for passes within a backward).
"""

from __future__ import annotations

import contextlib
import inspect
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd import graph as autograd_graph

from simplegrad.torch_bridge.finite import Eyes, look
from simplegrad.torch_bridge.patches import Watcher, is_watching, watched_by
from simplegrad.torch_bridge.tell import Teller
from simplegrad.torch_private import RECORD, BackwardCFunction, DisableTorchFunction, needs, sequence_number
from simplegrad.trace import Trace

VALUES = ("none", "norm", "full")
MOST_NODES = 100_000
_TORCH = str(pathlib.Path(torch.__file__).parent)
_HERE = str(pathlib.Path(__file__).parent)


class CompiledCode(RuntimeError):
    """The run goes through code of torch.compile, whose graph says nothing about the lines that were written."""


@contextlib.contextmanager
def record_torch(
    values: str = "none", *, limit: int = MOST_NODES, names: Mapping[str, torch.Tensor] | None = None
) -> Iterator[Trace]:
    """`with record_torch() as trace:` records every backward pass of PyTorch that begins inside, in this thread.

    `values`: "none" keeps shapes, "norm" also the norm of each gradient, "full" the gradients themselves, by
    reference; with both, every result is looked at for NaN and infinity (see find_nonfinite). `limit`: how many
    autograd nodes at most; past it the run goes on and the trace ends with LimitReached. `names`: what to call tensors
    that no local variable names.

    Operations are seen when a backward reaches them: what no backward reaches is not in the trace (`trace.notices`).
    Raises ValueError for another `values`, CompiledCode at a backward through code of `torch.compile`.
    """
    needs(RECORD)
    if values not in VALUES:
        raise ValueError(f"values={values!r}: expected one of {', '.join(map(repr, VALUES))}")
    recorder = TorchRecorder(values, limit, given={id(tensor): name for name, tensor in (names or {}).items()})
    with recorder.attached():
        try:
            yield recorder.trace
        except BaseException as error:
            recorder.log.append(("failed", error, _raised_at(error)))
            raise


@dataclass(slots=True)
class Node:
    """An autograd node as it was when it was first reached."""

    index: int
    name: str
    sequence: int
    edges: tuple  # (node index, which of its outputs), None for an input without one; nodes while recording
    shapes: tuple[tuple[int, ...], ...] = ()
    custom: type | None = None
    leaf: Any = None  # shape, dtype and name of the variable that it accumulates into


# A gradient as a hook saw it, in a plain tuple since there are many: the id of the node that computed it (see `known`;
# None without one), which output of it, shape, dtype; if asked for the tensor, a note, and "nan", "inf" or "".
Gradient = tuple[int | None, int, torch.Size, torch.dtype, torch.Tensor | None, str, str | None]


@dataclass(eq=False)
class TorchRecorder(Watcher):
    """Everything seen so far. `log` holds one tuple for each thing that happened, in order."""

    sees_operations = True

    values: str
    limit: int
    log: list[tuple] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    lines: dict[int, tuple] = field(default_factory=dict)  # sequence number -> (code, instruction)
    known: dict[int, int] = field(default_factory=dict)  # id of a node's wrapper -> index
    alive: list[Any] = field(default_factory=list)  # the wrappers: the id of a dropped one is reused at once
    names: dict[int, str] = field(default_factory=dict)
    pending: list[Any] = field(default_factory=list)  # nodes seen on gradients, not yet looked at
    called: dict[tuple[int, int], str] = field(default_factory=dict)  # names of nodes' outputs
    outputs: list[tuple] = field(default_factory=list)  # (node, output, name) of local tensors
    hooked: dict[int, Any] = field(default_factory=dict)  # node index -> handle of its hook
    full: bool = False
    is_over: bool = False  # watches no longer
    given: dict[int, str] = field(default_factory=dict)  # names by the id of a tensor
    eyes: Eyes | None = None  # looks at what operations give, unless values is "none"

    def __post_init__(self) -> None:
        self.trace = Trace()
        self.trace.kind = "torch"
        self.trace._builder = Teller(self)
        self.trace._notices.append("Operations that no backward pass reached are not shown.")
        if self.values == "none":
            self.trace._notices.append("No numbers were kept: where a NaN is born cannot be told from this trace.")
        else:
            self.eyes = Eyes(self.log, where_now)
            self.trace._notices.append(
                "Of PyTorch's own formulas for gradients only what comes in and goes out is seen, so of a NaN that is "
                "born inside of one, that formula is named, and the forward line that it belongs to."
            )

    # -- attaching -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Watch for the duration; the graph is let go of afterwards."""
        try:
            with watched_by(self):
                yield
        finally:
            self._let_go()

    def run_backward(self, plain: Callable, outputs: Any, args: tuple, kwargs: dict) -> Any:
        return plain(outputs, *args, **kwargs) if self.full else self._pass(plain, outputs, args, kwargs)

    def apply_node(self, plain: Callable, node: Any, grads: tuple) -> Any:
        index = self.known.get(id(node))
        if index is not None:
            self.log.append(("visiting", index, [self._gradient(g) for g in grads]))
        return plain(node, *grads)

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        before, eyes = sequence_number(), self.eyes
        if eyes is None:
            outputs = plain(*args, **kwargs)
        else:
            outputs = looked_at(eyes, cls, plain, args, kwargs, sys._getframe(2))
        note_lines(self.lines, before, sys._getframe(2))
        return outputs

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        before = sequence_number()
        result = plain(*args, **kwargs)
        if sequence_number() != before:
            note_lines(self.lines, before, sys._getframe(1))
        if self.eyes is not None:
            self.eyes.see(func, args, kwargs, result, before, sys._getframe(1))
        return result

    def _let_go(self) -> None:
        """Indices instead of nodes: a graph, and what it saved, must not live on in a trace."""
        for index, (wrapper, node) in enumerate(zip(self.alive, self.nodes, strict=True)):
            node.edges = self.edges_of(node)
            if node.leaf is None and index not in self.hooked:  # of the others, hooks have seen the shapes
                node.shapes = tuple(tuple(meta.shape) for meta in wrapper._input_metadata)
        for handle in self.hooked.values():
            handle.remove()
        self.alive.clear()
        self.pending.clear()
        self.hooked.clear()
        self.is_over = True

    def edges_of(self, node: Node) -> tuple[tuple[int, int] | None, ...]:
        """Where a node's input gradients go, by index."""
        known = self.known
        found = [(known.get(id(following)), output) for following, output in node.edges]
        return tuple([None if edge[0] is None else edge for edge in found])

    # -- one pass ------------------------------------------------------------------------------------------------

    def _pass(self, engine: Callable, outputs: Any, args: tuple, kwargs: dict) -> Any:
        with DisableTorchFunction():
            where = where_now(sys._getframe(1))
            self._learn_names(sys._getframe(1))
            roots = [self._edge(out) for out in outputs]
            self._hook([node for node, _ in roots if node is not None])
            self._name_outputs()
            targets = [self._edge(x) for x in args[3] or ()]
            seeds = [self._gradient(seed) for seed in args[0]]
            places = [self._place(edge) for edge in roots]
            self.log.append(("begun", where, places, seeds, [self._place(edge) for edge in targets]))
        results = engine(outputs, *args, **kwargs)
        with DisableTorchFunction():
            wanted = args[3] and not kwargs.get("accumulate_grad")
            found = [self._gradient(g) for g in results] if wanted else []
            self._look_at_pending()
            self.log.append(("ended", found))
        return results

    def _hook(self, roots: list[Any]) -> None:
        """Register every node that can be reached from here, and a hook on each that is no leaf."""
        self._look_at_pending()
        first, seen, todo, known = len(self.nodes), set(), roots, self.known
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            index = known.get(id(node))
            if index is None:
                index = self._register(node)
            here = self.nodes[index]
            if here.leaf is None:
                if index not in self.hooked and not self.full:
                    self.hooked[index] = node.register_hook(self._visited(index))
                todo += [edge[0] for edge in here.edges if edge[0] is not None]
        self.log.append(("nodes_seen", first, len(self.nodes)))

    def _visited(self, index: int) -> Callable:
        log, gradient, guard = self.log, self._gradient, DisableTorchFunction

        def hook(outgoing: tuple, incoming: tuple) -> None:
            if not is_watching(self):  # another thread's pass over the same graph
                return
            with guard():
                came, went = [gradient(g) for g in incoming], [gradient(g) for g in outgoing]
                log.append(("visited", index, came, went, sequence_number()))

        return hook

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
        name = node.name()
        if "CompiledFunction" in name:
            raise CompiledCode(
                "record_torch cannot look into code compiled by torch.compile: its graph is split and its operations "
                "are fused. Record the function or module from before torch.compile."
            )
        index = self.known[id(node)] = len(self.nodes)
        self.alive.append(node)
        custom = node._forward_cls if isinstance(node, BackwardCFunction) else None
        leaf = node.variable if name == "torch::autograd::AccumulateGrad" else None
        if leaf is not None:
            flaw = None if self.eyes is None else look(leaf)
            leaf = (tuple(leaf.shape), leaf.dtype, self.names.get(id(leaf), ""), self._kept(leaf), flaw)
        self.nodes.append(Node(index, name, node._sequence_nr(), node.next_functions, (), custom, leaf))
        if leaf is not None:
            return index
        if len(self.nodes) >= self.limit and not self.full:
            self.full = True
            self.log.append(("limit", self.limit))
        return index

    def _kept(self, tensor: torch.Tensor) -> torch.Tensor | None:
        return tensor.detach() if self.values == "full" else None

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

    def _gradient(self, g: Any) -> Gradient | None:
        if g is None:
            return None
        node, tensor, note = g.grad_fn, None, ""
        if node is not None:
            self.pending.append(node)
            node = id(node)
        if self.values == "none":
            return node, g.output_nr if node else 0, g.shape, g.dtype, None, "", None
        if self.values == "full":
            tensor = g.detach()
        else:
            note = f"norm {float(g.detach().norm()):.4g}"
        return node, g.output_nr, g.shape, g.dtype, tensor, note, look(g)

    def _learn_names(self, frame: Any) -> None:
        """What the lines that start a pass call their tensors: local names, and parameters of local modules."""
        while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _HERE)):
            frame = frame.f_back
        self.names, self.outputs = dict(self.given), []  # an id is only good while its tensor lives
        for name, value in list(frame.f_locals.items()) if frame is not None else ():
            if isinstance(value, torch.Tensor):
                self.names.setdefault(id(value), name)
                if value.requires_grad and value.grad_fn is not None:
                    self.outputs.append((value.grad_fn, value.output_nr, name))
            elif isinstance(value, torch.nn.Module):
                for inner, parameter in value.named_parameters():
                    self.names.setdefault(id(parameter), f"{name}.{inner}")
        if frame is not None and frame.f_code.co_flags & inspect.CO_OPTIMIZED and isinstance(frame.f_locals, dict):
            frame.f_locals.clear()  # a copy that the frame keeps, and with it the tensors

    def _name_outputs(self) -> None:
        """Names for the nodes' outputs; the nodes are known by now."""
        for node, output, name in self.outputs:
            if id(node) in self.known:
                self.called.setdefault((self.known[id(node)], output), name)
        self.outputs = []


# -- lines -------------------------------------------------------------------------------------------------------


def looked_at(eyes: Eyes, cls: type, apply: Callable, args: tuple, kwargs: dict, frame: Any) -> Any:
    """Run a custom Function; what is born inside its forward is told before the Function itself."""
    outer, births, before = eyes.inside, eyes.births, sequence_number()
    eyes.inside = before if outer is None else outer
    try:
        outputs = apply(*args, **kwargs)
    finally:
        eyes.inside = outer
    eyes.applied(cls, args, outputs, before, frame, births)
    return outputs


def note_lines(lines: dict[int, tuple], before: int, frame: Any) -> None:
    """Nodes numbered since `before` were made at this frame's line, unless a line further in is known."""
    where, after = where_now(frame), sequence_number()
    if after == before + 1:
        lines.setdefault(before, where)
        return
    for number in range(before, after):
        lines.setdefault(number, where)


def where_now(frame: Any) -> tuple | None:
    """(code, instruction) of the innermost frame that is neither PyTorch's nor ours."""
    while frame is not None:
        code = frame.f_code
        own = _OWN.get(code.co_filename)
        if own is None:
            own = _OWN[code.co_filename] = not code.co_filename.startswith((_TORCH, _HERE))
        if own:
            return code, frame.f_lasti
        frame = frame.f_back
    return None


_OWN: dict[str, bool] = {}  # file -> whether it is a person's own, neither PyTorch's nor ours


def _raised_at(error: BaseException) -> tuple | None:
    found, traceback = None, error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if not name.startswith((_TORCH, _HERE)):
            found = (traceback.tb_frame.f_code, traceback.tb_lasti)
        traceback = traceback.tb_next
    return found
