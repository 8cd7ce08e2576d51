"""The compiled aggregate for real PyTorch: a `torch.autograd.Function` whose temporaries are outputs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence

import torch

from ..ops import TABLE, Op
from .case import Case
from .code import Code, function_name, lines_of
from .errors import CompileError
from .reverse import Differentiated
from .run import module_of
from .shapes import LEVELS, Ranks, Unknown

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


class Module:
    """The text for inputs of some ranks, and what it defines."""

    def __init__(self, name: str, case: Case):
        expression, shapes = case.expression, Unknown(case.made.shapes)
        self.made = Differentiated(expression.graph, expression.inputs, expression.results, shapes)
        self.code = Code(name, expression.what, self.made, tensor=True)
        self.name = function_name(name)
        count = len(self.made.outputs)
        patterns = list(itertools.product((True, False), repeat=count))[:-1] if 2**count <= MOST_PATTERNS else []
        self.first = tuple(node in self.made.results for node in self.made.outputs)
        self.patterns = list(dict.fromkeys([self.first, *patterns, (True,) * count]))
        self.source = self.text()
        defined = module_of(self.source, name)
        self.call: Callable = defined[name]
        self.function: type[torch.autograd.Function] = defined[self.name]

    def text(self) -> str:
        bodies = [self.code.body_text(pattern) for pattern in self.patterns]
        helpers = [source_of(op) for op in TABLE.values() if self.needs(op)]
        given = "".join(f"\n{name} = {pasted(name, tensor)}\n" for name, tensor in self.made.graph.named.items())
        parts = [f'"""{self.code.what}\n\n{_ABOUT}"""\n\nimport torch\n{given}', self.wrapper(), self.class_text()]
        return "\n\n".join([*parts, *bodies, self.table(), *helpers])

    def needs(self, op: Op) -> bool:
        """Whether the code says a function of ours, which has to stand in the module too."""
        used = any(node.op == op.name for node in self.made.graph.nodes)
        return used and op.by_name and op.in_torch is None

    def wrapper(self) -> str:
        names = ", ".join(self.code.names[n] for n in self.made.inputs)
        results = [self.code.names[n] for n in self.made.results]
        count = len(self.made.temporaries)
        taken = ", ".join([*results, *(["*_"] if count else [])])
        call = f"{self.name}.apply({names})"
        lines = [f"return {call}"] if not count else [f"{taken} = {call}", f"return {', '.join(results)}"]
        return lines_of(f"def {self.code.name}({names}):", [f'"""{self.code.what}"""', *lines])

    def class_text(self) -> str:
        names = ", ".join(self.code.names[n] for n in self.made.inputs)
        forward = [
            "@staticmethod",
            f"def forward(ctx, {names}):",
            "    ctx.set_materialize_grads(False)  # a None stays a known zero",
            *(f"    {line}" for line in [*self.code.forward_lines(), *self.save_lines()]),
        ]
        backward = ["@staticmethod", "def backward(ctx, *dL_doutputs):", *(f"    {x}" for x in self.backward_lines())]
        return lines_of(f"class {self.name}(torch.autograd.Function):", forward, [""], backward)

    @property
    def saved(self) -> list[str]:
        return [name for name in self.code.captured if not name.endswith("_shape")]

    def save_lines(self) -> list[str]:
        outputs = [self.code.names[n] for n in self.made.outputs]
        shapes = [f"ctx.{name} = {name}" for name in self.code.captured if name.endswith("_shape")]
        if self.partial:
            shapes.append(f"ctx.shapes = [{', '.join(f'{name}.shape' for name in outputs)}]")
        saved = [f"ctx.save_for_backward({', '.join(self.saved)})"] if self.saved else []
        said = "  # the temporaries too, so that gradients come back to them" if self.made.temporaries else ""
        return [*saved, *shapes, f"return {', '.join(outputs)}{said}"]

    @property
    def partial(self) -> bool:
        """Not every pattern has a body."""
        return len(self.patterns) < 2 ** len(self.made.outputs) - 1

    def backward_lines(self) -> list[str]:
        nothing = ", ".join(["None"] * len(self.made.inputs))
        unpacked = ", ".join(self.saved) + "," * (len(self.saved) == 1)
        lines = ["pattern = tuple(g is not None for g in dL_doutputs)"]
        lines += ["if not any(pattern):", f"    return {nothing}"]
        if self.partial:
            lines += [
                "if pattern not in BODIES:  # seldom: zeros for what does not come in",
                "    like = next(g for g in dL_doutputs if g is not None)",
                "    pairs = zip(dL_doutputs, ctx.shapes)",
                "    dL_doutputs = [like.new_zeros(shape) if g is None else g for g, shape in pairs]",
                f"    pattern = (True,) * {len(self.made.outputs)}",
            ]
        lines += [f"{unpacked} = ctx.saved_tensors"] if self.saved else []
        captured = [f"ctx.{name}" if name.endswith("_shape") else name for name in self.code.captured]
        return [*lines, f"return BODIES[pattern]({', '.join(['*dL_doutputs', *captured])})"]

    def table(self) -> str:
        rows = [f"    {pattern}: {self.code.body_name(pattern)}," for pattern in self.patterns]
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
