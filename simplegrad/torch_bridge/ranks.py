"""What a recorder notes where its process is one of several: collectives, and prints of gradients and parameters."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from simplegrad.torch_bridge.model import joined
from simplegrad.torch_bridge.operations import tensors_of
from simplegrad.torch_bridge.prints import prints
from simplegrad.torch_bridge.rows import Joined, Recorder
from simplegrad.torch_bridge.where import OWN, Site, kind_of, site
from simplegrad.torch_private import BUFFERS, GATHER_INTO, SCATTER_INTO, DisableTorchFunction, local_part, rows_in_mean
from simplegrad.trace import ranks as kinds

# What a method of a ProcessGroup is called in torch.distributed.
_NAMES = {
    "allreduce": "all_reduce",
    "allgather": "all_gather",
    "allgather_coalesced": "all_gather_coalesced",
    "allreduce_coalesced": "all_reduce_coalesced",
    GATHER_INTO: "all_gather_into_tensor",
    "all_gather_single": "all_gather_into_tensor",
    SCATTER_INTO: "reduce_scatter_tensor",
    "reduce_scatter_single": "reduce_scatter_tensor",
    "alltoall": "all_to_all",
    "alltoall_base": "all_to_all_single",
    BUFFERS: "broadcast",
}
_IN_PLACE = {"allreduce", "allreduce_coalesced", "broadcast", "reduce", "recv", "recv_anysource", BUFFERS}
_NUMBERED = {kinds.AFTER, kinds.BEFORE, kinds.AT_END}
_ALONE = {"barrier", "monitored_barrier"}
_OF_A_GROUP = re.compile(r"gloo|nccl|timed? ?out|closed by peer|collective", re.IGNORECASE)
_OP = re.compile(r"PREMUL_SUM|SUM|AVG|PRODUCT|MIN|MAX|BAND|BOR|BXOR")


class Ranks:
    """Of one recorder. Its rows are ("collective", Joined), ("share", what, whose, state, prints, number)."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.log = recorder.log
        self.trace = recorder.trace
        self.trace.rank, self.trace.world = dist.get_rank(), dist.get_world_size()
        self.trace.seed = torch.initial_seed() % (1 << 53)
        self.flying: dict[int, tuple[Any, Joined]] = {}  # by id of the Work, which is kept so long
        self.owned: dict[int, tuple[Any, str]] = {}  # id of a gradient or parameter -> itself, whose it is
        self.spans: dict[int, list[tuple[int, int, str]]] = {}  # memory -> where in it whose lies
        self.synced: dict[int, tuple[Any, Any]] = {}  # id of a parameter -> itself, the DDP whose forward ran
        self.local: dict[int, tuple[float, ...]] = {}  # leaf -> what it would hold after the pass without the others
        self.pass_at: Site | None = None
        self.is_told = False  # that a pass ended in an error, waiting

    # -- collectives -----------------------------------------------------------------------------------------------

    def collective(self, plain: Callable, name: str, group: Any, args: tuple, kwargs: dict) -> Any:
        joined, careful = None, self.recorder.careful
        with careful(f"{name} could not be noted"), DisableTorchFunction():
            joined = self._begun(name, group, args, kwargs)
            self.log.append(("collective", joined))
        work = plain(group, *args, **kwargs)
        if joined is not None:
            if isinstance(work, dist.Work):
                joined.state = kinds.STARTED if _is_async(args, kwargs) else kinds.WAITS
                self.flying[id(work)] = work, joined
            else:
                self._finished(joined)
        return work

    def waited(self, plain: Callable, work: Any, args: tuple, kwargs: dict) -> Any:
        _, joined = self.flying.get(id(work), (None, None))
        if joined is not None:
            joined.state = kinds.WAITS
        result = plain(work, *args, **kwargs)
        if joined is not None:
            del self.flying[id(work)]
            self._finished(joined)
        return result

    def _begun(self, name: str, group: Any, args: tuple, kwargs: dict) -> Joined:
        recorder = self.recorder
        where = site(sys._getframe(3), recorder.context, recorder.around)
        found = Joined(_NAMES.get(name, name), where)
        found.by = "DDP buffers" if name == BUFFERS else "join" if _joins(where) else ""
        found.ranks = _ranks_of(group)
        for each in (*args, *kwargs.values()):
            found.op = found.op or _op(getattr(each, "reduceOp", ""))
            found.root = getattr(each, "rootRank", found.root)
        if name in ("send", "recv", BUFFERS) and len(args) > 1:
            found.root = args[-1] if name == BUFFERS else args[1]
        if isinstance(found.root, int) and 0 <= found.root < len(found.ranks):
            found.root = found.ranks[found.root]
        given, found.results = _given_and_gives(name, args)
        found.ins = tuple([recorder.tensors.number(x) for x in given])
        found.owners = [self.owners(x) for x in given]
        found.before = _all_prints(given)
        return found

    def _finished(self, joined: Joined) -> None:
        """What it gives is there."""
        recorder = self.recorder
        with recorder.careful(f"What {joined.name} gives could not be noted"), DisableTorchFunction():
            joined.state = kinds.DONE
            joined.outs = tuple([recorder.tensors.result(x, changes=True) for x in joined.results])
            joined.after = _all_prints(joined.results)
            changed = {id(x) for x in joined.results}
            of_others = any(joined.owners) and not changed & {id(held[0]()) for held in recorder.held.values()}
            for index, held in list(recorder.held.items()):
                if of_others or id(held[0]()) in changed:  # a collective does not count as a change in place
                    recorder.held[index] = (held[0], None, *held[2:])
            joined.results = []

    # -- DistributedDataParallel -----------------------------------------------------------------------------------

    def module_begins(self, module: nn.Module) -> None:
        """The reducer of a DDP goes to work in the next pass, unless the forward runs in no_sync()."""
        if isinstance(module, nn.parallel.DistributedDataParallel) and torch.is_grad_enabled():
            for parameter in module.parameters():
                if module.require_backward_grad_sync:
                    self.synced[id(parameter)] = parameter, module
                else:
                    self.synced.pop(id(parameter), None)

    def _reduced_by_ddp(self, reached: list[int], is_over: bool) -> Joined | None:
        """What the reducers do in a pass: seen by what .grad holds before it and after."""
        leaves = self.recorder.leaves
        mine = [i for i in reached if self.synced.get(id(leaves[i]), (None,))[0] is leaves[i]]
        if not mine:
            return None
        ddp = self.synced[id(leaves[mine[0]])][1]
        found = Joined("all_reduce", self.pass_at, op="avg", ranks=_ranks_of(ddp.process_group), by="DDP")
        found.state = kinds.DONE if is_over else kinds.WAITS
        self.is_told = not is_over
        found.owners = [[f"{self.name_of(leaves[i])}.grad"] for i in mine]
        found.before = [x for i in mine for x in _padded(self.local.get(i, ()))]
        found.after = _all_prints([leaves[i].grad for i in mine]) if is_over else []
        number = self.recorder.tensors.number
        found.outs = tuple([number(leaves[i].grad) for i in mine if leaves[i].grad is not None])
        return found

    def failed(self, error: BaseException) -> None:
        """An error of the process group that came out of nothing noted: DDP agrees on its buckets in a forward."""
        waits = any(joined.state != kinds.STARTED for _, joined in self.flying.values())
        if waits or not _OF_A_GROUP.search(str(error)) or self.is_told:
            return
        groups = [ddp.process_group for _, ddp in self.synced.values()]
        found = Joined("all_reduce", _site_of(error), ranks=_ranks_of(groups[-1] if groups else None), by="DDP buckets")
        self.log.append(("collective", found))

    # -- passes ----------------------------------------------------------------------------------------------------

    def watch_leaf(self, index: int, node: Any) -> Any:
        """Note what a pass brings to a leaf: the handle of the hook that does."""

        def came(grads: tuple) -> None:
            with self.recorder.careful("A gradient could not be noted"), DisableTorchFunction():
                if grads and grads[0] is not None:
                    seen = self.share(kinds.CAME, index, grads[0])
                    before = self.local.get(index)
                    self.local[index] = tuple([a + b for a, b in zip(before, seen)]) if before else seen

        return node.register_prehook(came)

    def pass_begins(self, where: Site, reached: list[int], accumulates: bool) -> None:
        leaves, self.pass_at, self.local = self.recorder.leaves, where, {}
        self.log.append(("pass_mark", where))
        for index in reached:
            self.share(kinds.USED, index, leaves[index])
            if accumulates and leaves[index].grad is not None:
                self.local[index] = self.share(kinds.BEFORE, index, leaves[index].grad)

    def pass_ends(self, reached: list[int], is_over: bool) -> None:
        with self.recorder.careful("What came to the leaves could not be noted"), DisableTorchFunction():
            joined = self._reduced_by_ddp(reached, is_over)
            if joined is not None:
                self.log.append(("collective", joined))
            for index in reached if is_over else ():
                self.share(kinds.AFTER, index, self.recorder.leaves[index].grad)

    def counted(self, result: Any) -> str:
        """`mean of 12`, for the loss that divides by the rows, or their weights, that it does not leave out."""
        node = getattr(result, "grad_fn", None)
        rows = None if node is None else rows_in_mean(node)
        return "" if rows is None else f"mean of {rows:g}"

    def share(self, what: str, whose: int | str, tensor: torch.Tensor | None) -> tuple[float, ...]:
        found = prints(tensor)
        is_part = tensor is not None and local_part(tensor) is not tensor
        state = "none" if tensor is None else "nan" if not found else "local" if is_part else "value"
        number = self.recorder.tensors.number(tensor) if what in _NUMBERED and tensor is not None else None
        self.log.append(("share", what, whose, state, found, number))
        return found

    def optimizer_steps(self, parameters: list[torch.Tensor]) -> None:
        for parameter in parameters:
            name = self.name_of(parameter)
            if name:
                self.share(kinds.STEPPED, name, parameter.grad)

    def finish(self) -> None:
        """At the end of the recording."""
        for work, started in list(self.flying.values()):
            if started.state == kinds.STARTED and work.is_completed():
                self._finished(started)
                started.state = kinds.STARTED
        for path, tensor, is_parameter in self._tensors():
            self.share(kinds.VALUE, path, tensor)
            if is_parameter:
                self.share(kinds.AT_END, path, tensor.grad)
        self.let_go()

    def let_go(self) -> None:
        self.flying.clear(), self.owned.clear(), self.spans.clear(), self.synced.clear(), self.local.clear()

    # -- whose a tensor is -----------------------------------------------------------------------------------------

    def name_of(self, parameter: torch.Tensor) -> str:
        models = self.recorder.models
        models.resolve()
        return models.name_of(parameter)

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor, bool]]:
        seen = set()
        for path, root in self.recorder.models.roots:
            named = [*root.named_parameters(), *root.named_buffers()]
            for name, tensor in named:
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield joined(path, name), tensor, isinstance(tensor, nn.Parameter)

    def owners(self, tensor: torch.Tensor) -> list[str]:
        """ "fc.weight.grad" for a gradient, "fc.weight" for a parameter or buffer; several for a flat one."""
        found = self._owners(tensor)
        if not found or self._is_old(tensor):
            self._learn_owners()
            found = self._owners(tensor)
        return found

    def _is_old(self, tensor: torch.Tensor) -> bool:
        known = self.owned.get(id(tensor))
        return known is None or known[0] is not tensor

    def _owners(self, tensor: torch.Tensor) -> list[str]:
        known = self.owned.get(id(tensor))
        if known is not None and known[0] is tensor:
            return [known[1]]
        memory, first, last = _span(local_part(tensor))
        return [whose for begin, end, whose in self.spans.get(memory, ()) if begin < last and first < end]

    def _learn_owners(self) -> None:
        self.owned, self.spans = {}, {}
        for path, tensor, _ in self._tensors():
            grad = tensor.grad if tensor.is_leaf else None
            for each, whose in ((tensor, path), (grad, f"{path}.grad")):
                if each is not None:
                    self.owned[id(each)] = each, whose
                    memory, first, last = _span(local_part(each))
                    self.spans.setdefault(memory, []).append((first, last, whose))


def _site_of(error: BaseException) -> Site:
    """The own lines that an error came through."""
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if kind_of(code.co_filename) == OWN:
            frames = [code, traceback.tb_lasti, *frames]
        traceback = traceback.tb_next
    return Site(frames, None)


def _given_and_gives(name: str, args: tuple) -> tuple[list, list]:
    """The tensors of a call that are read, and those that are written to."""
    if name in _ALONE:
        return [], []
    first = list(tensors_of(args[0]))
    if name == "send":
        return first, []
    return (first, first) if name in _IN_PLACE else (list(tensors_of(args[1:])), first)


def _span(tensor: torch.Tensor) -> tuple[int, int, int]:
    """(which memory, where the tensor begins in it, where it ends), in elements."""
    try:
        first = tensor.storage_offset()
        return tensor.untyped_storage().data_ptr(), first, first + tensor.numel()
    except Exception:
        return -1, 0, 0


def _all_prints(tensors: list) -> list[float]:
    """One after the other; NaN where there are none."""
    return [x for tensor in tensors for x in _padded(prints(tensor))]


def _padded(found: tuple[float, ...]) -> tuple[float, ...]:
    return found or _NOTHING


_NOTHING = (0.0,) * 8


def _ranks_of(group: Any) -> tuple[int, ...]:
    try:
        return tuple(dist.get_process_group_ranks(group))
    except Exception:
        return ()


def _op(given: Any) -> str:
    found = _OP.search(str(getattr(given, "op", given)))
    return found[0].lower() if found else ""


def _is_async(args: tuple, kwargs: dict) -> bool:
    return any(getattr(x, "asyncOp", False) for x in (*args, *kwargs.values()))


def _joins(where: Site) -> bool:
    """Whether a rank that has no more data does what the others wait for."""
    return any(code.co_filename.endswith("algorithms/join.py") for code in where.via)
