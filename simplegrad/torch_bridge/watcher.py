"""Who watches a run: what of it can be seen, one method for each thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Watcher:
    """What can be seen of a run. Each method is given torch's own function as `plain`, and returns what it returns.

    Of watchers within each other the inner one is called first, and its `plain` is the outer one's method.
    """

    sees_modules = True  # whether what modules and optimizers do is wanted: their names are replaced for that
    sees_operations = False  # whether `operation` is wanted: it costs a Python call for each operation

    def run_backward(self, plain: Callable, outputs: Any, args: tuple, kwargs: dict) -> Any:
        """One call of the engine: `backward()`, `autograd.grad()`, or a pass within a backward."""
        return plain(outputs, *args, **kwargs)

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        """One `Function.apply`, also where a bound `apply` was taken earlier."""
        return plain(*args, **kwargs)

    def apply_node(self, plain: Callable, node: Any, grads: tuple) -> Any:
        """The backward of one custom Function, by its node."""
        return plain(node, *grads)

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        """One call of `func`, a function of torch or a method of a tensor."""
        return plain(*args, **kwargs)

    def call_module(self, plain: Callable, module: Any, args: tuple, kwargs: dict) -> Any:
        """The forward of a module, with its hooks."""
        return plain(module, *args, **kwargs)

    def attribute_set(self, module: Any, name: str, value: Any) -> None:
        """A parameter or a module is about to become `module.name`."""

    def parameter_made(self, data: Any, parameter: Any) -> None:
        """`parameter` is `nn.Parameter(data)`."""

    def inference_begins(self) -> None:
        """`with torch.inference_mode():`, or a function that was decorated with it."""

    def optimizer_steps(self, optimizer: Any, is_over: bool) -> None:
        """`optimizer.step()` is about to begin, or is over."""

    def clear_gradients(self, plain: Callable, holder: Any, args: tuple, kwargs: dict) -> None:
        """`holder.zero_grad()`, of an optimizer or a module."""
        plain(holder, *args, **kwargs)

    def mode_set(self, module: Any, is_training: bool) -> None:
        """`module.train()` or `module.eval()`."""

    def collective(self, plain: Callable, name: str, group: Any, args: tuple, kwargs: dict) -> Any:
        """A method of a ProcessGroup, which is what each function of torch.distributed ends in; it gives a Work."""
        return plain(group, *args, **kwargs)

    def waited(self, plain: Callable, work: Any, args: tuple, kwargs: dict) -> Any:
        """`work.wait()`: what the collective gives is there afterwards."""
        return plain(work, *args, **kwargs)

    def compiled_code(self, is_over: bool) -> None:
        """Code of torch.compile is about to run, or is over; what runs in it is told to nobody."""

    def no_sync_begins(self, ddp: Any) -> None:
        """`ddp.no_sync()` is called, of a DistributedDataParallel."""
