"""The only file that assigns to a name of torch: who watches a run is told here what autograd does in it.

Names of torch belong to the whole process, a watcher to the context that opened it (a thread, an asyncio task). So the
names are replaced once, while anybody watches; what stands in for them looks for the watchers of the context that
calls, or of the one that started the pass (the engine has threads of its own), and is torch's own function where there
are none. What is taken out of a name again is only what this file has put there.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd import graph as autograd_graph
from torch.nn.modules import module as module_hooks
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from simplegrad.locks import lock
from simplegrad.torch_bridge.watcher import Watcher
from simplegrad.torch_private import (
    BUFFERS,
    CALL_MODULE,
    FRAME_EVALUATION,
    GATHER_INTO,
    RUN_BACKWARD,
    SCATTER_INTO,
    BackwardCFunction,
    SingleLevelFunction,
    frame_evaluation,
    function_mode_stack,
    is_stashed,
    put_mode_on,
    stash,
    stashed,
    take_mode_off,
    unstash,
)

__all__ = ["Watcher", "current", "is_distributed", "is_watching", "opened_here", "operations_off", "operations_on"]
__all__ += ["watched_by"]
_KEY = "simplegrad.watchers"  # in what the engine hands on to its threads


class _Opened:
    """A watcher at work; a context that outlives it (that of a task) is left with an empty shell."""

    __slots__ = ("watcher",)

    def __init__(self, watcher: Watcher) -> None:
        self.watcher: Watcher | None = watcher


_opened: ContextVar[tuple[_Opened, ...]] = ContextVar("simplegrad_watchers", default=())
opened_here = _opened.get  # cheap: the same object as long as nothing is opened or closed in this context
_here = threading.local()


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """For the duration, `watcher` is told what this context runs, and the passes that it starts.

    May be opened several at once and closed in any order, also by another thread.
    """
    opened, mine = _Opened(watcher), _mine()
    names = [_NAMES if watcher.sees_modules else _AUTOGRAD]
    names += [_GROUP] if watcher.sees_modules and is_distributed() else []
    try:  # Ctrl-C may come at any line, and nothing is left of what was begun
        _opened.set((*_opened.get(), opened))
        mine.append(opened)
        for each in names:
            each.hold(opened)
        _settle_mode()
        yield
    finally:
        try:
            _closed(opened, mine, names)
        except BaseException:  # interrupted: what may be done twice is done again
            _closed(opened, mine, names)
            raise


def _closed(opened: _Opened, mine: list[_Opened], names: list[_Names]) -> None:
    """`mine`: of the thread that opened it, also where another one closes it."""
    opened.watcher = None
    _opened.set(tuple(each for each in _opened.get() if each.watcher is not None))
    if opened in mine:
        mine.remove(opened)
    for each in names:
        each.release(opened)
    _settle_mode()


def is_distributed() -> bool:
    """Whether this process is one of several, and has met the others."""
    return _HAS_RANKS and dist.is_initialized()


_HAS_RANKS = dist.is_available()


def _mine() -> list[_Opened]:
    """Those that this thread has opened."""
    return _here.__dict__.setdefault("opened", [])


def current() -> tuple[Watcher, ...]:
    """Who watches what runs here, outermost first."""
    return tuple([each.watcher for each in _of_context() if each.watcher is not None])


def is_watching(watcher: Watcher) -> bool:
    """Whether what runs here, or the pass that runs here, is watched by this one."""
    return any(each.watcher is watcher for each in _of_context())


def _of_context() -> tuple[_Opened, ...]:
    """Of this context; in a thread of the engine, of the pass that it works for."""
    opened = _opened.get()
    if not opened and is_stashed is not None and is_stashed(_KEY):
        return stashed(_KEY)
    return opened


# -- what stands in for torch's names ---------------------------------------------------------------------------------


def _run_backward(plain: Callable, outputs: Any, *args: Any, **kwargs: Any) -> Any:
    watchers = current()
    if not watchers:
        return plain(outputs, *args, **kwargs)
    call = plain
    for watcher in watchers:
        call = _told(watcher.run_backward, call)
    with _known_to_the_engine(), _mode_in_the_pass(watchers):
        return call(outputs, *args, **kwargs)


def _told(method: Callable, plain: Callable) -> Callable:
    return lambda outputs, *args, **kwargs: method(plain, outputs, args, kwargs)


def _apply_function(plain: Callable, cls: type, *args: Any, **kwargs: Any) -> Any:
    call = plain
    for watcher in current():
        call = _applied(watcher.apply_function, call, cls)
    return call(*args, **kwargs)


def _applied(method: Callable, plain: Callable, cls: type) -> Callable:
    return lambda *args, **kwargs: method(plain, cls, args, kwargs)


def _apply_node(plain: Callable, node: Any, *grads: Any) -> Any:
    if type(node).__name__ == COMPILED:
        with _asleep():
            return plain(node, *grads)
    call = plain
    for watcher in current():
        call = _ran(watcher.apply_node, call)
    return call(node, *grads)


def _apply_boxed(plain: Callable, node: Any, grads: list) -> Any:
    """A backward that takes its gradients in a list, to empty it; watchers are given them one by one."""
    watchers = current()
    if not watchers:
        return plain(node, grads)
    if type(node).__name__ == COMPILED:
        with _asleep():
            return plain(node, grads)

    def call(node: Any, *_: Any) -> Any:
        return plain(node, grads)

    for watcher in watchers:
        call = _ran(watcher.apply_node, call)
    return call(node, *grads)


def _ran(method: Callable, plain: Callable) -> Callable:
    return lambda node, *grads: method(plain, node, grads)


def _call_module(plain: Callable, module: Any, *args: Any, **kwargs: Any) -> Any:
    opened = _opened.get()
    if len(opened) == 1 and opened[0].watcher is not None:  # the usual case, and there are many modules
        return opened[0].watcher.call_module(plain, module, args, kwargs)
    call = plain
    for watcher in current():
        call = _of(watcher.call_module, call)
    return call(module, *args, **kwargs)


def _attribute_set(module: Any, name: str, value: Any) -> None:
    if value is not None:
        for watcher in current():
            watcher.attribute_set(module, name, value)


def _make_parameter(plain: Callable, cls: type, data: Any = None, *args: Any, **kwargs: Any) -> Any:
    made = plain(cls, data, *args, **kwargs)
    for watcher in current():
        watcher.parameter_made(data, made)
    return made


def _enter_inference(plain: Callable, mode: Any) -> Any:
    if mode.mode:
        for watcher in current():
            watcher.inference_begins()
    return plain(mode)


def _clear_gradients(plain: Callable, holder: Any, *args: Any, **kwargs: Any) -> None:
    call = plain
    for watcher in current():
        call = _of(watcher.clear_gradients, call)
    with _without_mode():
        call(holder, *args, **kwargs)


def _of(method: Callable, plain: Callable) -> Callable:
    return lambda holder, *args, **kwargs: method(plain, holder, args, kwargs)


def _before_step(optimizer: Any, args: tuple, kwargs: dict) -> None:
    for watcher in current():
        watcher.optimizer_steps(optimizer, False)


def _after_step(optimizer: Any, args: tuple, kwargs: dict) -> None:
    for watcher in current():
        watcher.optimizer_steps(optimizer, True)


def _set_mode(plain: Callable, module: Any, mode: bool = True) -> Any:
    if sys._getframe(2).f_code is not plain.__code__:  # of all below a module, which it sets too, nothing is told
        for watcher in current():
            watcher.mode_set(module, bool(mode))
    return plain(module, mode)


def _collective(name: str) -> Callable:
    def stand_in(plain: Callable, group: Any, *args: Any, **kwargs: Any) -> Any:
        call = plain
        for watcher in current():
            call = _joined(watcher.collective, call, name)
        return call(group, *args, **kwargs)

    return stand_in


def _joined(method: Callable, plain: Callable, name: str) -> Callable:
    return lambda group, *args, **kwargs: method(plain, name, group, args, kwargs)


def _wait(plain: Callable, work: Any, *args: Any, **kwargs: Any) -> Any:
    call = plain
    for watcher in current():
        call = _of(watcher.waited, call)
    return call(work, *args, **kwargs)


def _no_sync(plain: Callable, ddp: Any) -> Any:
    for watcher in current():
        watcher.no_sync_begins(ddp)
    return plain(ddp)


@contextlib.contextmanager
def _known_to_the_engine() -> Iterator[None]:
    """The engine copies what is stashed to the threads that work for a pass (one for each device; deep nesting)."""
    if is_stashed is None:
        yield
        return
    before = stashed(_KEY) if is_stashed(_KEY) else None
    stash(_KEY, _of_context())
    try:
        yield
    finally:
        if before is None and unstash is not None:
            unstash(_KEY)  # a thread that ends with an object there can hang
        else:
            stash(_KEY, before or ())


# -- operations -------------------------------------------------------------------------------------------------------


class _Operations(TorchFunctionMode):
    """One mode for everybody: the stack of modes is the thread's, and can be left in its own order only."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        opened = _opened.get()
        if len(opened) == 1:  # the usual case, and there are many operations
            watcher = opened[0].watcher
            if watcher is not None and watcher.sees_operations:
                return watcher.operation(func, func, args, kwargs or {})
        call = func
        for watcher in current():
            if watcher.sees_operations:
                call = _operated(watcher.operation, call, func)
        return call(*args, **kwargs) if kwargs else call(*args)


def _operated(method: Callable, plain: Callable, func: Callable) -> Callable:
    return lambda *args, **kwargs: method(plain, func, args, kwargs)


_operations = _Operations()


def _settle_mode() -> None:
    """The mode is on this thread's stack as long as one of its watchers wants it, whatever else lies on the stack."""
    wanted = any(each.watcher is not None and each.watcher.sees_operations for each in _mine())
    if wanted != _is_on():
        _operations.__enter__() if wanted else _take_out()


def operations_off() -> bool:
    """No operation is told from now on to the only watcher of this context; whether that could be done."""
    return len(_opened.get()) == 1 and take_mode_off(_operations)


def operations_on() -> None:
    """They are told again, after `operations_off`."""
    put_mode_on(_operations)


def _is_on() -> bool:
    return any(mode is _operations for mode in function_mode_stack())


def _take_out() -> None:
    above = []
    for mode in reversed(function_mode_stack()):
        TorchFunctionMode.__exit__(mode, None, None, None)
        if mode is _operations:
            break
        above.append(mode)
    for mode in reversed(above):
        TorchFunctionMode.__enter__(mode)


@contextlib.contextmanager
def _without_mode() -> Iterator[None]:
    """For what is told as one thing: its operations are told to nobody."""
    stack = function_mode_stack()
    if not stack or stack[-1] is not _operations:
        yield
        return
    _operations.__exit__(None, None, None)
    try:
        yield
    finally:
        _operations.__enter__()


@contextlib.contextmanager
def _mode_in_the_pass(watchers: tuple[Watcher, ...]) -> Iterator[None]:
    """torch takes a mode away while it runs `autograd.grad` or `backward`; what hooks and backwards do counts too."""
    if not any(watcher.sees_operations for watcher in watchers) or _is_on():
        yield
        return
    with _operations:
        yield


# -- code of torch.compile --------------------------------------------------------------------------------------------

COMPILED = "CompiledFunctionBackward"  # the node of what torch.compile makes of code


class _Sleep:
    """What is taken from a thread while code of torch.compile runs in it, so that it is compiled, and runs, as if
    nobody watched: the compiler would trace into a mode and into hooks, and look whether they are there still."""

    def __init__(self) -> None:
        self.opened, self.had_mode = _opened.get(), _is_on()
        self.has_hooks = _NAMES.let_hooks_go(len(_mine()))
        if self.had_mode:
            _take_out()
        _opened.set(())

    def end(self) -> None:
        is_closed = any(each.watcher is None for each in self.opened)
        _opened.set(tuple(each for each in self.opened if each.watcher is not None) if is_closed else self.opened)
        if self.had_mode and not _is_on():
            _operations.__enter__()
        if self.has_hooks:
            _NAMES.take_hooks_up()


@contextlib.contextmanager
def _asleep() -> Iterator[None]:
    if not _opened.get():
        yield
        return
    sleep = _Sleep()
    try:
        yield
    finally:
        sleep.end()


def _set_frame_evaluation(plain: Callable, callback: Any) -> Any:
    """torch.compile sets its callback where code of its own begins, and in the same frame the one from before where
    that is over; in between it does so in others."""
    sleep, begun_by = _here.__dict__.setdefault("sleep", (None, None))
    frame = sys._getframe(2)
    if sleep is None and callback is not None and _opened.get():
        for watcher in current():
            watcher.compiled_code(False)
        _here.sleep = _Sleep(), frame
    elif sleep is not None and frame is begun_by:
        _here.sleep = None, None
        sleep.end()
        for watcher in current():
            watcher.compiled_code(True)
    return plain(callback)


def _compile(plain: Callable, *args: Any, **kwargs: Any) -> Any:
    made = plain(*args, **kwargs)
    _NAMES.replace()  # what it has imported by now
    return made


def _compiler_spots() -> tuple:
    """Names that torch.compile brings with it, where somebody has called it."""
    frames = frame_evaluation()
    return ((frames, FRAME_EVALUATION, _set_frame_evaluation),) if frames is not None else ()


# -- the names --------------------------------------------------------------------------------------------------------


class _Replaced:
    """One name of torch with ours in it, which calls `stand_in(plain, ...)`."""

    def __init__(self, holder: Any, name: str, stand_in: Callable) -> None:
        self.holder, self.name, self.is_live = holder, name, False
        self.stood = vars(holder).get(name)  # None: inherited
        is_inherited = holder is SingleLevelFunction
        self.ours = self._of_class(stand_in) if is_inherited else self._function(stand_in)

    def put_in(self) -> None:
        self.is_live = True
        if vars(self.holder).get(self.name) is self.stood:
            setattr(self.holder, self.name, self.ours)

    def put_back(self) -> None:
        """Not where somebody else has replaced it meanwhile; what they hold of ours is torch's own from now on."""
        self.is_live = False
        if vars(self.holder).get(self.name) is self.ours:
            delattr(self.holder, self.name) if self.stood is None else setattr(self.holder, self.name, self.stood)

    def _function(self, stand_in: Callable) -> Callable:
        plain = self.stood

        def instead(*args: Any, **kwargs: Any) -> Any:
            return stand_in(plain, *args, **kwargs) if self.is_live else plain(*args, **kwargs)

        instead.__name__, instead.__wrapped__ = self.name, plain  # all of functools.wraps takes a microsecond
        return instead

    def _of_class(self, stand_in: Callable) -> classmethod:
        holder, name, stood = self.holder, self.name, self.stood

        def instead(cls: type, *args: Any, **kwargs: Any) -> Any:
            plain = getattr(super(holder, cls), name) if stood is None else stood.__get__(None, cls)
            return stand_in(plain, cls, *args, **kwargs) if self.is_live else plain(*args, **kwargs)

        return classmethod(instead)


class _Names:
    """Some of them, replaced as long as anybody holds them. `below`: held as long as these are."""

    def __init__(self, spots: tuple, below: _Names | None = None) -> None:
        self.spots, self.below = spots, below
        self.held_by: set[_Opened] = set()
        self.let_go, self.lock = 0, lock()
        self.replaced: list[_Replaced] = []
        self.handles: list[Any] = []  # of torch's own hooks for all modules and optimizers

    def hold(self, opened: _Opened) -> None:
        if self.below is not None:
            self.below.hold(opened)
        with self.lock:
            self.held_by.add(opened)
            if len(self.held_by) == 1 and self.below is not None:
                self._hook()
        self.replace()

    def _hook(self) -> None:
        self.handles = []
        for register, hook in _HOOKS:
            self.handles.append(register(hook))

    def replace(self) -> None:
        """Put ours into those names that do not have it yet."""
        with self.lock:
            known = {(each.holder, each.name) for each in self.replaced}
            spots = (*self.spots, *(_compiler_spots() if self.below is not None else ()))
            for spot in spots if self.held_by else ():
                if spot[:2] not in known:
                    self.replaced.append(_Replaced(*spot))
                    self.replaced[-1].put_in()

    def let_hooks_go(self, mine: int) -> bool:
        """Take the hooks for all modules off, if nobody but this thread's `mine` watches; whether that was done."""
        with self.lock:
            if not self.handles or len(self.held_by) != mine:
                return False
            self.let_go += 1
            if self.let_go == 1:
                for handle in self.handles:
                    handle.remove()
                for replaced in self._calls():
                    replaced.put_back()
            return True

    def _calls(self) -> list[_Replaced]:
        """What each call of a module goes through."""
        return [each for each in self.replaced if each.name == CALL_MODULE]

    def take_hooks_up(self) -> None:
        with self.lock:
            self.let_go -= 1
            if self.let_go == 0 and self.held_by:
                self._hook()
                for replaced in self._calls():
                    replaced.put_in()

    def release(self, opened: _Opened) -> None:
        """May be said again, also of what was held in part."""
        if self.below is not None:
            self.below.release(opened)
        with self.lock:
            self.held_by.discard(opened)
            if not self.held_by:
                for replaced in self.replaced:
                    replaced.put_back()
                for handle in self.handles:
                    handle.remove()
                self.replaced, self.handles = [], []


_AUTOGRAD_SPOTS = (
    (autograd_graph, RUN_BACKWARD, _run_backward),
    (torch.autograd, RUN_BACKWARD, _run_backward),  # imported from there by name
    (BackwardCFunction, "apply", _apply_node),
    (SingleLevelFunction, "apply", _apply_function),
)
if hasattr(BackwardCFunction, "apply_boxed"):  # from torch 2.12 on
    _AUTOGRAD_SPOTS += ((BackwardCFunction, "apply_boxed", _apply_boxed),)
_MODULE_SPOTS = (
    (torch.nn.Module, CALL_MODULE, _call_module),
    (torch.nn.Parameter, "__new__", _make_parameter),
    (torch.inference_mode, "__enter__", _enter_inference),
    (torch.nn.Module, "zero_grad", _clear_gradients),
    (torch.optim.Optimizer, "zero_grad", _clear_gradients),
    (torch.nn.Module, "train", _set_mode),
    (torch, "compile", _compile),
)
# What the functions of torch.distributed call. A backend has only some of them, a torch only some of the names.
COLLECTIVES = tuple(
    "allreduce allreduce_coalesced broadcast reduce allgather allgather_coalesced all_gather_single "
    "all_gather_single_coalesced allgather_into_tensor_coalesced reduce_scatter reduce_scatter_single "
    "reduce_scatter_single_coalesced reduce_scatter_tensor_coalesced alltoall alltoall_base "
    "all_to_all_single gather scatter barrier monitored_barrier send recv recv_anysource".split()
) + (GATHER_INTO, SCATTER_INTO)


def _group_spots() -> tuple:
    """Of torch.distributed, where this torch has it."""
    if not dist.is_available():
        return ()
    group, parallel = dist.ProcessGroup, torch.nn.parallel.DistributedDataParallel
    methods = [(group, name, _collective(name)) for name in COLLECTIVES if name in vars(group)]
    return (
        *methods,
        (dist.Work, "wait", _wait),
        (parallel, "no_sync", _no_sync),
        *[(dist, name, _collective(name)) for name in (BUFFERS,) if name in vars(dist)],
    )


# torch's own hooks for all modules and optimizers.
_HOOKS = (
    (module_hooks.register_module_parameter_registration_hook, _attribute_set),
    (module_hooks.register_module_module_registration_hook, _attribute_set),
    (register_optimizer_step_pre_hook, _before_step),
    (register_optimizer_step_post_hook, _after_step),
)
_AUTOGRAD = _Names(_AUTOGRAD_SPOTS)
_NAMES = _Names(_MODULE_SPOTS, _AUTOGRAD)
_GROUP = _Names(_group_spots())
