"""The compiled aggregate for real PyTorch: a `torch.autograd.Function` whose temporaries are outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch

from ..ops import TABLE, Op
from .case import Case
from .code import Code, indented, lines_of
from .errors import CompileError
from .names import function_name
from .run import module_of
from .shapes import LEVELS, Ranks
from .write import listed

MOST_PATTERNS = 8  # with more patterns than these, only that of a first backward gets a body of its own


class TorchFunction:
    """Computes on tensors, through a `torch.autograd.Function` that can be differentiated any number of times.

    `source`: a whole module, to paste into a project; `function`: the Function in it. Both are for the ranks of the
    latest call (before any, for those of the aggregate), and for all sizes, unless what was compiled asks for some:
    broadcasting is undone wherever there may have been some.
    """

    def __init__(self, aggregate):
        self.aggregate = aggregate
        self.modules: dict[tuple, Module] = {}
        case = aggregate.case
        self.module = self.made(case, [case.made.shapes.value(node) for node in case.made.inputs])

    def __call__(self, *tensors: torch.Tensor):
        self.module = self.modules.get(self.key(tensors)) or self.made(
            self.aggregate.case_of([x.detach() for x in tensors]), tensors
        )
        return self.module.call(*tensors)

    def key(self, tensors: Sequence[torch.Tensor]) -> tuple:
        return (LEVELS[self.aggregate.level] or Ranks).key(tensors)

    def made(self, case: Case, tensors: Sequence[torch.Tensor]) -> Module:
        return self.modules.setdefault(self.key(tensors), Module(self.aggregate.written, case))

    @property
    def source(self) -> str:
        return self.module.source

    @property
    def function(self) -> type[torch.autograd.Function]:
        return self.module.function


class Module(Code):
    """The text for inputs of some ranks, and what it defines."""

    def __init__(self, name: str, case: Case):
        super().__init__(name, case.general, tensor=True)
        self.function_name = function_name(name)
        few = 2 ** len(self.outputs) <= MOST_PATTERNS
        self.patterns = self.made.patterns if few else list(dict.fromkeys([self.made.first, self.made.all]))
        self.source = self.text()
        defined = module_of(self.source, name)
        self.call: Callable = defined[name]
        self.function: type[torch.autograd.Function] = defined[self.function_name]

    def text(self) -> str:
        bodies = [self.body_text(pattern) for pattern in self.patterns]
        helpers = [source_of(op) for op in TABLE.values() if self.needs(op)]
        given = "".join(f"\n{name} = {pasted(name, tensor)}\n" for name, tensor in self.made.graph.named.items())
        head = f'"""{self.what}\n\n{_ABOUT}"""\n\nimport torch\n{given}'
        return "\n\n".join([head, self.wrapper(), self.class_text(), *bodies, self.table(), *helpers])

    def needs(self, op: Op) -> bool:
        """Whether the code says a function of ours, which has to stand in the module too."""
        used = any(node.op == op.name for node in self.made.graph.nodes)
        return used and op.by_name and op.in_torch is None

    def wrapper(self) -> str:
        call = f"{self.function_name}.apply({', '.join(self.inputs)})"
        lines = [f"return {call}"]
        if self.made.temporaries:
            lines = [f"{', '.join([*self.results, '*_'])} = {call}", self.forward_return]
        return lines_of(self.forward_head, [f'"""{self.what}"""', *lines])

    def class_text(self) -> str:
        forward = [
            "@staticmethod",
            f"def forward(ctx, {', '.join(self.inputs)}):",
            "    ctx.set_materialize_grads(False)  # a None stays a known zero",
            *indented([*self.forward_lines(), *self.save_lines()]),
        ]
        backward = ["@staticmethod", "def backward(ctx, *dL_doutputs):", *indented(self.backward_lines())]
        return lines_of(f"class {self.function_name}(torch.autograd.Function):", forward, [""], backward)

    def save_lines(self) -> list[str]:
        saved = [f"ctx.save_for_backward({', '.join(self.saved)})"] if self.saved else []
        shapes = [f"ctx.{name} = {name}" for name in self.saved_shapes]
        if self.partial:
            shapes.append(f"ctx.shapes = [{', '.join(f'{name}.shape' for name in self.outputs)}]")
        said = "  # the temporaries too, so that gradients come back to them" if self.made.temporaries else ""
        return [*saved, *shapes, f"return {', '.join(self.outputs)}{said}"]

    @property
    def partial(self) -> bool:
        """Not every pattern has a body."""
        return len(self.patterns) < 2 ** len(self.outputs) - 1

    def backward_lines(self) -> list[str]:
        lines = ["pattern = tuple(g is not None for g in dL_doutputs)"]
        lines += ["if not any(pattern):", f"    return {', '.join(['None'] * len(self.inputs))}"]
        if self.partial:
            lines += [
                "if pattern not in BODIES:  # seldom: zeros for what does not come in",
                "    like = next(g for g in dL_doutputs if g is not None)",
                "    pairs = zip(dL_doutputs, ctx.shapes)",
                "    dL_doutputs = [like.new_zeros(shape) if g is None else g for g, shape in pairs]",
                f"    pattern = (True,) * {len(self.outputs)}",
            ]
        lines += [f"{listed(self.saved)} = ctx.saved_tensors"] if self.saved else []
        given = ", ".join(["*dL_doutputs", *self.saved, *(f"ctx.{name}" for name in self.saved_shapes)])
        return [*lines, f"return BODIES[pattern]({given})"]

    def table(self) -> str:
        rows = [f"    {pattern}: {self.body_name(pattern)}," for pattern in self.patterns]
        return "\n".join(["BODIES = {", *rows, "}\n"])


MOST_PASTED = 1_000  # numbers of a captured tensor, in a text that is to be read


def pasted(name: str, tensor: torch.Tensor) -> str:
    if tensor.numel() > MOST_PASTED:
        raise CompileError(
            f"a tensor of shape {tuple(tensor.shape)} is captured: too many numbers for a text. Make it an input of "
            f"the function."
        )
    numbers = str(tensor.tolist()).replace("inf", 'float("inf")').replace("nan", 'float("nan")')
    return f'torch.tensor({numbers}, dtype={tensor.dtype}, device="{tensor.device}")'


def source_of(op: Op) -> str:
    if op.forward.__name__ == "<lambda>":
        raise CompileError(f"'{op.name}' has a lambda for its forward, which cannot be pasted: write def {op.name}(x).")
    return inspect.getsource(op.forward).replace(f"def {op.forward.__name__}", f"def {op.name}")


_ABOUT = """The temporaries that backward reads are outputs of the Function, and the wrapper hides them. So a second
derivative reaches them, and backward has a straight line for each pattern of gradients that are None."""
