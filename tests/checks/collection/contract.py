"""What autograd may do to a backward beside calling it once: a fault of each kind, which only a Function can have.

`CONTRACT[name]` has the broken and the right function, inputs, and the codes under which the fault may be told.
`# BUG` marks the line that a check must name. Most of them pass gradcheck, gradgradcheck and opcheck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.checks.right.register import fresh, real


@dataclass
class Fault:
    broken: Callable
    right: Callable
    given: tuple
    codes: tuple[str, ...]

    @property
    def inputs(self) -> tuple:
        return tuple(map(fresh, self.given))


CONTRACT: dict[str, Fault] = {}


def fault(*codes, inputs=()):
    """Decorate a function that returns (broken, right): Functions, or functions that call some."""

    def register(make):
        CONTRACT[make.__name__] = Fault(*map(applied, make()), inputs or (real(3),), codes)
        return make

    return register


def applied(made):
    return made.apply if isinstance(made, type) else made


def cube(backward, forward=None):
    """x**3 that keeps x, with this backward (ctx, g)."""
    return type("Cube", (Function,), {"forward": staticmethod(forward or keeps), "backward": staticmethod(backward)})


def keeps(ctx, x):
    ctx.save_for_backward(x)
    return x**3


def right_cube(ctx, g):
    (x,) = ctx.saved_tensors
    return 3 * x**2 * g


# --- layouts of the incoming gradient --------------------------------------------------------------------------------


def memory(t, offset=None):
    """What a kernel sees that gets a pointer and a number of elements."""
    start = t.storage_offset() if offset is None else offset
    room = t.untyped_storage().nbytes() // t.element_size() - start
    seen = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), start, (min(room, t.numel()),), (1,))
    return torch.cat([seen, seen.new_zeros(t.numel() - len(seen))])


def square(backward):
    """x * x, with a backward that hands the gradient's memory to a kernel."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    methods = {"forward": staticmethod(forward), "backward": staticmethod(once_differentiable(backward))}
    return type("Square", (Function,), methods)


def of_contiguous(ctx, g):
    (x,) = ctx.saved_tensors
    g = g.contiguous()
    return 2 * x * memory(g).view(x.shape)


@fault("layout_assumed", inputs=(real(3, 2),))
def takes_a_transposed_one_for_contiguous():
    def raw(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * memory(g).view(x.shape)  # BUG

    return square(raw), square(of_contiguous)


@fault("layout_assumed", inputs=(real(6),))
def takes_stride_zero_for_one():
    def raw(ctx, g):
        (x,) = ctx.saved_tensors
        flat = memory(g)  # BUG
        return 2 * x * flat

    return square(raw), square(of_contiguous)


@fault("layout_assumed", inputs=(real(4),))
def forgets_the_offset():
    def from_the_start(ctx, g):
        (x,) = ctx.saved_tensors
        whole = memory(g.contiguous(), offset=0)  # BUG
        return 2 * x * whole.view(x.shape)

    return square(from_the_start), square(of_contiguous)


@fault("layout_assumed", inputs=(real(1, 2, 2, 3),))
def takes_channels_last_for_channels_first():
    def dense(ctx, g):
        (x,) = ctx.saved_tensors
        if not g.is_contiguous(memory_format=torch.channels_last):
            g = g.contiguous()
        return 2 * x * memory(g).view(x.shape)  # BUG

    return square(dense), square(of_contiguous)


# --- what it does not own --------------------------------------------------------------------------------------------


@fault("input_mutated")
def overwrites_its_input_by_numpy():
    class Loss(Function):
        @staticmethod
        def forward(ctx, p):
            slope = 2 * p
            loss = (p * p).sum()
            p.detach().numpy()[...] = slope.numpy()  # BUG
            ctx.save_for_backward(p)
            return loss

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    class Right(Function):
        @staticmethod
        def forward(ctx, p):
            ctx.save_for_backward(p)
            return (p * p).sum()

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    return (lambda x: Loss.apply(x.sin())), (lambda x: Right.apply(x.sin()))


@fault("input_mutated")
def forgets_mark_dirty():
    class Scaled(Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)  # BUG
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    class Right(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    return (lambda x: Scaled.apply(x * 1)), (lambda x: Right.apply(x * 1))


@fault("captured_value_mutated", "not_repeatable")
def changes_what_it_saved():
    def changes(ctx, g):
        (x,) = ctx.saved_tensors
        slope = x.data.square_().mul_(3)  # BUG
        return slope * g

    return cube(once_differentiable(changes)), cube(right_cube)


@fault("input_mutated", "captured_value_mutated")
def changes_the_incoming_gradient():
    def changes(ctx, g):
        (x,) = ctx.saved_tensors
        g.mul_(3)  # BUG
        return x**2 * g

    return cube(once_differentiable(changes)), cube(right_cube)


@fault("captured_value_mutated")
def shares_a_buffer_between_calls():
    workspace = torch.zeros(3, dtype=torch.double)

    def into_the_buffer(ctx, x):
        workspace.copy_(3 * x.detach() ** 2)  # BUG
        ctx.slope = workspace
        return x**3

    def from_the_buffer(ctx, g):
        return g * ctx.slope

    broken = cube(once_differentiable(from_the_buffer), into_the_buffer)
    right = cube(right_cube)
    return (lambda x: broken.apply(x) + broken.apply(2 * x)), (lambda x: right.apply(x) + right.apply(2 * x))


@fault("captured_value_mutated", "not_repeatable")
def hands_out_a_buffer_as_gradient():
    result = torch.zeros(3, dtype=torch.double)

    def into_the_buffer(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.mul(3 * x**2, g, out=result)  # BUG

    broken, right = cube(once_differentiable(into_the_buffer)), cube(right_cube)
    return (lambda x, y: broken.apply(x) + broken.apply(y)), (lambda x, y: right.apply(x) + right.apply(y))


CONTRACT["hands_out_a_buffer_as_gradient"].given = (real(3), real(3, seed=1))


# --- the same again --------------------------------------------------------------------------------------------------


@fault("not_repeatable", "raises")
def throws_away_what_it_kept():
    def forward(ctx, x):
        ctx.kept = [x]
        return x**3

    def pops(ctx, g):
        x = ctx.kept.pop()  # BUG
        return 3 * x**2 * g

    return cube(once_differentiable(pops), forward), cube(right_cube)


@fault("not_repeatable")
def adds_noise():
    def noisy(ctx, g):
        (x,) = ctx.saved_tensors
        noise = 1e-3 * torch.randn_like(x)  # BUG
        return (3 * x**2 + noise) * g

    return cube(noisy), cube(right_cube)


@fault("not_repeatable", inputs=(real(8),))
def draws_its_mask_again():
    def drops(ctx, x):
        return x * (torch.rand_like(x) > 0.5)

    def drops_others(ctx, g):
        return g * (torch.rand_like(g) > 0.5)  # BUG

    def keeps_mask(ctx, x):
        ctx.mask = torch.rand_like(x) > 0.5
        return x * ctx.mask

    def drops_the_same(ctx, g):
        return g * ctx.mask

    return cube(drops_others, drops), cube(drops_the_same, keeps_mask)


@fault("depends_on_create_graph")
def computes_less_where_a_graph_is_made():
    def differs(ctx, g):
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return 3 * x * g  # BUG
        return 3 * x**2 * g

    def same(ctx, g):
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return 3 * x * x * g
        return 3 * x**2 * g

    return cube(differs), cube(same)


# --- what comes in, and what is asked for ----------------------------------------------------------------------------


@fault("not_linear")
def clips_the_gradient():
    def clips(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.clamp(-0.5, 0.5)  # BUG
        return 3 * x**2 * g

    return cube(clips), cube(right_cube)


@fault("not_linear")
def normalises_the_gradient():
    def normalises(ctx, g):
        (x,) = ctx.saved_tensors
        grad = 3 * x**2 * g
        return grad / grad.norm()  # BUG

    return cube(normalises), cube(right_cube)


@fault("none_not_handled")
def adds_up_none():
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    def adds(ctx, gs, gc):
        (x,) = ctx.saved_tensors
        return gs * x.cos() - gc * x.sin()  # BUG

    def asks(ctx, gs, gc):
        (x,) = ctx.saved_tensors
        parts = [] if gs is None else [gs * x.cos()]
        parts += [] if gc is None else [-gc * x.sin()]
        return sum(parts) if parts else None

    return cube(adds, forward), cube(asks, forward)


def product(backward):
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    return type("Product", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def right_product(ctx, g):
    a, b = ctx.saved_tensors
    return g * b if ctx.needs_input_grad[0] else None, g * a if ctx.needs_input_grad[1] else None


@fault("raises", inputs=(real(3), real(3, seed=1)))
def needs_the_first_to_do_the_second():
    def linked(ctx, g):
        a, b = ctx.saved_tensors
        ga = gb = None
        if ctx.needs_input_grad[0]:
            both = g * b
            ga = both
        if ctx.needs_input_grad[1]:
            gb = both / b * a  # BUG
        return ga, gb

    return product(linked), product(right_product)


@fault("missing_gradient", inputs=(real(3), real(3, seed=1)))
def asks_of_the_first_for_both():
    def first(ctx, g):
        a, b = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, None  # BUG
        return g * b, g * a

    return product(first), product(right_product)


@fault("missing_gradient", inputs=(real(3), real(3, seed=1)))
def gets_its_tensors_in_a_list():
    class SumOfSquares(Function):
        @staticmethod
        def forward(ctx, tensors):
            ctx.save_for_backward(*tensors)
            return sum(t.square().sum() for t in tensors)

        @staticmethod
        def backward(ctx, g):
            return [2 * g * t for t in ctx.saved_tensors]

    class Direct(Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return sum(t.square().sum() for t in tensors)

        @staticmethod
        def backward(ctx, g):
            return tuple(2 * g * t for t in ctx.saved_tensors)

    def in_a_list(a, b):
        return a.sum() + SumOfSquares.apply([a, b])  # BUG

    return in_a_list, (lambda a, b: a.sum() + Direct.apply(a, b))


class Affine(torch.nn.Module):
    """A layer whose Function has this gradient for its bias."""

    def __init__(self, of_bias):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = torch.nn.Parameter(torch.randn(3, dtype=torch.double, generator=generator))
        self.bias = torch.nn.Parameter(torch.randn(3, dtype=torch.double, generator=generator))
        self.of_bias = of_bias

    def forward(self, x):
        of_bias = self.of_bias

        class Scale(Function):
            @staticmethod
            def forward(ctx, x, w, b):
                ctx.save_for_backward(x, w)
                return x * w + b

            @staticmethod
            def backward(ctx, g):
                x, w = ctx.saved_tensors
                return g * w, (g * x).sum(0), of_bias(g)

        return Scale.apply(x, self.weight, self.bias)


@fault("wrong_gradient", "wrong_partial", inputs=(real(2, 3),))
def is_wrong_for_a_parameter():
    def mean(g):
        return g.mean(0)  # BUG

    return Affine(mean), Affine(lambda g: g.sum(0))


@fault("ignored_output_gradient")
def ignores_its_second_output():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square(), 2 * x

    def ignores(ctx, g, g_slope):  # BUG
        (x,) = ctx.saved_tensors
        return 2 * g * x

    def uses(ctx, g, g_slope):
        (x,) = ctx.saved_tensors
        return 2 * g * x + 2 * g_slope

    return cube(ignores, forward), cube(uses, forward)


@fault("nonfinite_gradient", inputs=(torch.zeros(2, 3, dtype=torch.double).requires_grad_(),))
def divides_by_a_norm_of_zero():
    def forward(ctx, x):
        n = x.square().sum(-1, keepdim=True).sqrt()
        ctx.save_for_backward(x, n)
        return n

    def divides(ctx, g):
        x, n = ctx.saved_tensors
        return g * x / n  # BUG

    def guards(ctx, g):
        x, n = ctx.saved_tensors
        return torch.where(n > 0, g * x / n.clamp(min=1e-300), torch.zeros_like(x))

    return cube(divides, forward), cube(guards, forward)


# --- forward mode ----------------------------------------------------------------------------------------------------


def with_rules(**rules):
    """x**3 by setup_context, with these static methods beside."""

    class Cube(Function):
        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g

    for name, rule in rules.items():
        setattr(Cube, name, staticmethod(rule))
    return Cube


@fault("wrong_jvp")
def gives_the_slope_alone():
    def slope(ctx, t):
        (x,) = ctx.saved_tensors
        return 3 * x**2  # BUG

    def tangent(ctx, t):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * t

    return with_rules(jvp=slope), with_rules(jvp=tangent)


@fault("wrong_jvp")
def forgets_the_factor_in_forward_mode():
    def without(ctx, t):
        (x,) = ctx.saved_tensors
        return x**2 * t  # BUG

    def tangent(ctx, t):
        (x,) = ctx.saved_tensors
        return 3 * t * x * x

    return with_rules(jvp=without), with_rules(jvp=tangent)


@fault("wrong_vmap", inputs=(real(2, 3),))
def mixes_up_the_batch():
    def flips(info, in_dims, x):
        return x.flip(0) ** 3, in_dims[0]  # BUG

    def each(info, in_dims, x):
        return x**3, in_dims[0]

    return with_rules(vmap=flips), with_rules(vmap=each)


@fault("wrong_vmap", inputs=(real(3, 3),))
def names_another_dimension_of_the_batch():
    def last(info, in_dims, x):
        return x.movedim(in_dims[0], 0) ** 3, 1  # BUG

    def first(info, in_dims, x):
        return x.movedim(in_dims[0], 0) ** 3, 0

    return with_rules(vmap=last), with_rules(vmap=first)


# --- small and large -------------------------------------------------------------------------------------------------


@fault("wrong_gradient", "wrong_partial")
def is_a_little_off():
    def off(ctx, g):
        (x,) = ctx.saved_tensors
        return 3.006 * x**2 * g  # BUG

    return cube(off), cube(right_cube)


@fault(
    "wrong_gradient",
    "wrong_partial",
    "missing_use",
    inputs=(real(4, low=0.5, high=1.0), (1e9 * real(4, seed=1, low=0.5).detach()).requires_grad_()),
)
def loses_what_is_small_beside_the_other():
    def lost(ctx, g):
        a, b = ctx.saved_tensors
        return g * b, 2 * g * a  # BUG

    def whole(ctx, g):
        a, b = ctx.saved_tensors
        return g * b, g * a

    return product(lost), product(whole)


# --- as it is given --------------------------------------------------------------------------------------------------


@fault("raises", inputs=(real(2, 3, dtype=torch.float32), real(3, 4, seed=1, dtype=torch.float32)))
def fails_outside_of_autocast():
    def layer(backward):
        def forward(ctx, x, w):
            y = torch.tanh(x @ w)
            ctx.save_for_backward(x, w, y)
            return y

        return type("Layer", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})

    def mixes(ctx, g):
        x, w, y = ctx.saved_tensors
        dh = g * (1 - y * y)
        return dh @ w.t(), x.t() @ dh  # BUG

    def casts(ctx, g):
        x, w, y = ctx.saved_tensors
        dh = (g * (1 - y * y)).to(w.dtype)
        return dh @ w.t(), x.t() @ dh

    def under_autocast(cls):
        def run(x, w):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = cls.apply(x, w)
            return y.float().square().mean()

        return run

    return under_autocast(layer(mixes)), under_autocast(layer(casts))
