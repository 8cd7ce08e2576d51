"""Each operator in each of its forms, as a function that runs on tensors and on Variables alike."""

from dataclasses import dataclass

import torch

PAIRS = [((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((3,), ()), ((), (2, 3)), ((2, 2, 3), (2, 1)), ((), ())]
WORDS = torch.tensor([[True, False, True], [False, False, True]])
PLACES = torch.tensor([0, 2, 2, 1, 2])  # a place taken three times


@dataclass(frozen=True)
class Case:
    name: str
    function: object
    shapes: tuple
    lowest: float = -2.0  # values are taken from here to 2, all different


CASES: list[Case] = []


def case(name, function, *shapes, lowest=-2.0):
    said = " ".join(str(tuple(shape)).replace(" ", "") for shape in shapes)
    CASES.append(Case(f"{name} {said}", function, shapes, lowest))


for shapes in PAIRS:
    case("a + b", lambda a, b: a + b, *shapes)
    case("a - b", lambda a, b: a - b, *shapes)
    case("a * b", lambda a, b: a * b, *shapes)
    case("a / b", lambda a, b: a / b, *shapes, lowest=0.5)
    case("a ** b", lambda a, b: a**b, *shapes, lowest=0.5)
    case("maximum", torch.maximum, *shapes)
    case("minimum", torch.minimum, *shapes)
for shapes in [((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3)), ((), ())]:
    case("where", lambda a, b: torch.where(WORDS, a, b), *shapes)
case("where of an expanded condition", lambda a, b: torch.where(WORDS[0, 0], a, b), (2, 3), (3,))
case("where, number right", lambda a: torch.where(WORDS, a, 2.0), (3,))
case("where, number left", lambda a: torch.where(WORDS, -1, a), (2, 3))
case("a * a", lambda a: a * a, (3,))
case("a / a, a + a, a - a", lambda a: a / a + (a + a) * (a - a), (3,), lowest=0.5)

NUMBERS = {
    "x + 2": lambda x: x + 2,
    "2.5 + x": lambda x: 2.5 + x,
    "x - 2": lambda x: x - 2,
    "2 - x": lambda x: 2 - x,
    "x * 3": lambda x: x * 3,
    "3.5 * x": lambda x: 3.5 * x,
    "x * 1.0": lambda x: x * 1.0,
    "1 * x": lambda x: 1 * x,
    "x / 4": lambda x: x / 4,
    "3 / x": lambda x: 3 / x,
    "x ** 3": lambda x: x**3,
    "x ** 2": lambda x: x**2,
    "x ** 1": lambda x: x**1,
    "x ** 0": lambda x: x**0 * x,
    "x ** 0.5": lambda x: x**0.5,
    "x ** -1.5": lambda x: x**-1.5,
    "2 ** x": lambda x: 2**x,
    "0.5 ** x": lambda x: 0.5**x,
    "x + True": lambda x: x + True,
}
for name, function in NUMBERS.items():
    for shape in ((3,), (2, 3), ()):
        case(name, function, shape, lowest=0.5)

for name in ("exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "relu", "abs", "neg"):
    for shape in ((4,), (2, 3), ()):
        case(name, getattr(torch, name), shape, lowest=0.5 if name in ("log", "sqrt") else -2.0)
case("-x", lambda x: -x, (3,))
case("abs(x)", lambda x: abs(x), (3,))

DIMS = [((3,), {}), ((2, 3), {}), ((), {}), ((2, 3, 2), {"keepdim": True, "dim": (0, 1, 2)})]
DIMS += [((2, 3), {"dim": 0}), ((2, 3), {"dim": -1}), ((2, 3), {"dim": 1, "keepdim": True}), ((3,), {"dim": 0})]
DIMS += [((2, 3, 2), {"dim": (0, 2)}), ((2, 3, 2), {"dim": (-1, 0), "keepdim": True}), ((2, 3), {"dim": (0, 1)})]
for shape, options in DIMS:
    for name in ("sum", "mean", "amax", "logsumexp"):
        if name != "logsumexp" or options:  # torch's has no default for dim
            case(
                f"{name} {options}",
                lambda x, name=name, options=options: getattr(x, name)(**options),
                shape,
            )
for shape, dim in (((3,), 0), ((2, 3), 0), ((2, 3), -1), ((2, 3, 2), 1)):
    case(f"softmax dim={dim}", lambda x, dim=dim: x.softmax(dim=dim), shape)

SHAPES = {
    "expand(2, 3)": (lambda x: x.expand(2, 3), (3,)),
    "expand(4, -1, 3)": (lambda x: x.expand(4, -1, 3), (2, 1)),
    "expand of a scalar": (lambda x: x.expand(4), ()),
    "expand((2, 3))": (lambda x: x.expand((2, 3)), (1, 3)),
    "sum_to_size(3)": (lambda x: x.sum_to_size(3), (2, 3)),
    "sum_to_size(2, 1)": (lambda x: x.sum_to_size(2, 1), (2, 3)),
    "reshape(-1)": (lambda x: x.reshape(-1), (2, 3)),
    "reshape(3, -1)": (lambda x: x.reshape(3, -1), (2, 3)),
    "reshape((3, 2))": (lambda x: x.reshape((3, 2)), (2, 3)),
    "reshape to one dimension": (lambda x: x.reshape(1), ()),
    "reshape to none": (lambda x: x.reshape(()), (1, 1)),
    "view": (lambda x: x.view(6), (2, 3)),
    "transpose": (lambda x: x.transpose(0, -1), (2, 3, 2)),
    "permute": (lambda x: x.permute(2, 0, 1), (2, 3, 2)),
    "permute, negative": (lambda x: x.permute(-1, 0, -2), (2, 3, 2)),
    "unsqueeze": (lambda x: x.unsqueeze(-1), (2, 3)),
    "squeeze": (lambda x: x.squeeze(), (1, 3, 1)),
    "squeeze(0)": (lambda x: x.squeeze(0), (1, 3, 1)),
    "flatten": (lambda x: x.flatten(), (2, 3)),
    "flatten(1)": (lambda x: x.flatten(1), (2, 3, 2)),
    "t": (lambda x: x.t(), (2, 3)),
    "T": (lambda x: x.T, (2, 3)),
    "mT": (lambda x: x.mT, (2, 3, 2)),
}
for name, (function, shape) in SHAPES.items():
    case(name, lambda x, function=function: function(x) * function(x), shape)

INDICES = {
    "0": 0,
    "-1": -1,
    "1:": slice(1, None),
    "1:, ::2": (slice(1, None), slice(None, None, 2)),
    "..., -2": (..., -2),
    "None": None,
    "None, 1, ..., None": (None, 1, ..., None),
    ":, 1:2": (slice(None), slice(1, 2)),
    "0, 1, 1": (0, 1, 1),
    "True": True,
    "places": (slice(None), PLACES),
    "places twice": (torch.tensor([0, 0, 1]), torch.tensor([2, 2, 0])),
    "places, then an int": (torch.tensor([1, 1]), slice(None), 1),
    "a list": (slice(None), [0, 0, 2]),
    "a table of places": (slice(None), PLACES[:4].reshape(2, 2)),
    "negative places": (torch.tensor([-1, 1]),),
    "words": WORDS,
    "words of one dimension": (slice(None), WORDS[0]),
    "nothing": slice(0, 0),
}
for name, index in INDICES.items():
    case(f"x[{name}]", lambda x, index=index: x[index] * x[index], (2, 3, 2))

case("cat", lambda a, b: torch.cat([a, b]), (2, 3), (1, 3))
case("cat of one twice", lambda a, b: torch.cat([a, b, a], dim=-1), (2, 3), (2, 1))
case("stack", lambda a, b: torch.stack([a, b]), (3,), (3,))
case("stack, last", lambda a, b: torch.stack([a, b, b], dim=-1), (2, 3), (2, 3))
case("stack of scalars", lambda a, b: torch.stack([a, b]), (), ())

MATRICES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 2, 3), (2, 3, 2))]
MATRICES += [((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2)), ((2, 2, 3), (3,)), ((3,), (2, 3, 2))]
MATRICES += [((2, 1, 2, 3), (3, 3, 2)), ((1, 2, 3), (3, 3, 1)), ((1, 3), (3, 1))]
for shapes in MATRICES:
    case("a @ b", lambda a, b: a @ b, *shapes)
case("a @ a.T", lambda a: a @ a.T, (2, 3))


def values(shapes, lowest=-2.0, seed=0) -> list[torch.Tensor]:
    """Tensors of these shapes in float64, in which no two elements are equal and none is near 0."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(torch.Size(shape).numel() for shape in shapes)
    numbers = torch.linspace(lowest, 2.03, max(count, 2), dtype=torch.float64)
    numbers[numbers.abs() < 0.02] += 0.05
    numbers = numbers[torch.randperm(len(numbers), generator=generator)]
    tensors, start = [], 0
    for shape in shapes:
        stop = start + torch.Size(shape).numel()
        tensors.append(numbers[start:stop].reshape(shape))
        start = stop
    return tensors
