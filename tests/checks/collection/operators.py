"""The faults of `contract` that an operator of `torch.library` can have, each as one: a body, a `setup_context` and a
backward registered for it. opcheck can be asked of these; `OPERATORS[name]` is what `CONTRACT[name]` is for Functions.
"""

from __future__ import annotations

import torch

from tests.checks.collection.contract import Fault, memory
from tests.checks.right.register import real

OPERATORS: dict[str, Fault] = {}
DEFINED: dict[str, list] = {}  # name of a fault -> its broken and its right operator, for opcheck
_made: list = []


def fault(*codes, inputs=()):
    """Decorate a function that returns (broken, right): operators, or functions that call some."""

    def register(make):
        before = len(_made)
        broken, right = make()
        DEFINED[make.__name__] = _made[before:]
        OPERATORS[make.__name__] = Fault(broken, right, inputs or (real(3),), codes)
        return make

    return register


def operator(name, body, backward, setup=None, schema="(Tensor x) -> Tensor"):
    """`contract::name`, whose setup_context saves the inputs unless another is given."""
    made = torch.library.custom_op(f"contract::{name}", body, mutates_args=(), schema=schema)
    made.register_fake(body)
    made.register_autograd(backward, setup_context=setup or saves_inputs)
    _made.append(made)
    return made


def saves_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def cubed(x):
    return x**3


def cube(name, backward, setup=None, body=cubed):
    return operator(name, body, backward, setup)


def right_cube(ctx, g):
    (x,) = ctx.saved_tensors
    return 3 * x**2 * g


def product(name, backward):
    return operator(name, lambda a, b: a * b, backward, schema="(Tensor a, Tensor b) -> Tensor")


def right_product(ctx, g):
    a, b = ctx.saved_tensors
    return g * b, g * a


def square(name, backward):
    return operator(name, lambda x: x * x, backward)


# --- layouts of the incoming gradient --------------------------------------------------------------------------------


def of_contiguous(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * Kernel.apply(g.contiguous()).view(x.shape)


class Kernel(torch.autograd.Function):
    """A copy of what lies at a tensor's pointer, as a compiled kernel sees it."""

    @staticmethod
    def forward(ctx, t, offset=None):
        ctx.shape = t.shape
        return memory(t, offset)

    @staticmethod
    def backward(ctx, g):
        return g.reshape(ctx.shape), None


@fault("layout_assumed", inputs=(real(3, 2),))
def takes_a_transposed_one_for_contiguous():
    def raw(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * Kernel.apply(g).view(x.shape)  # BUG

    return square("transposed", raw), square("transposed_right", of_contiguous)


@fault("layout_assumed", inputs=(real(6),))
def takes_stride_zero_for_one():
    def raw(ctx, g):
        (x,) = ctx.saved_tensors
        flat = Kernel.apply(g)  # BUG
        return 2 * x * flat

    return square("expanded", raw), square("expanded_right", of_contiguous)


@fault("layout_assumed", inputs=(real(4),))
def forgets_the_offset():
    def from_the_start(ctx, g):
        (x,) = ctx.saved_tensors
        whole = Kernel.apply(g.contiguous(), 0)  # BUG
        return 2 * x * whole.view(x.shape)

    return square("offset", from_the_start), square("offset_right", of_contiguous)


@fault("layout_assumed", inputs=(real(1, 2, 2, 3),))
def takes_channels_last_for_channels_first():
    def dense(ctx, g):
        (x,) = ctx.saved_tensors
        if not g.is_contiguous(memory_format=torch.channels_last):
            g = g.contiguous()
        return 2 * x * Kernel.apply(g).view(x.shape)  # BUG

    return square("channels", dense), square("channels_right", of_contiguous)


# --- what it does not own --------------------------------------------------------------------------------------------


@fault("input_mutated")
def changes_an_input_that_it_does_not_name():
    def scales(x):  # BUG
        x.mul_(2)
        return x.clone()

    def doubled(ctx, g):
        return 2 * g

    broken = cube("scales", doubled, body=scales)
    right = cube("scales_right", doubled, body=lambda x: x * 2)
    return (lambda x: broken(x * 1)), (lambda x: right(x * 1))


@fault("captured_value_mutated", "not_repeatable")
def changes_what_it_saved():
    def changes(ctx, g):
        (x,) = ctx.saved_tensors
        slope = x.data.square_().mul_(3)  # BUG
        return slope * g

    return cube("changes_saved", changes), cube("changes_saved_right", right_cube)


@fault("input_mutated", "captured_value_mutated")
def changes_the_incoming_gradient():
    def changes(ctx, g):
        (x,) = ctx.saved_tensors
        g.mul_(3)  # BUG
        return x**2 * g

    return cube("changes_incoming", changes), cube("changes_incoming_right", right_cube)


@fault("captured_value_mutated")
def shares_a_buffer_between_calls():
    workspace = torch.zeros(3, dtype=torch.double)

    def into_the_buffer(ctx, inputs, output):
        workspace.copy_(3 * inputs[0].detach() ** 2)  # BUG
        ctx.slope = workspace

    def from_the_buffer(ctx, g):
        return g * ctx.slope

    broken = cube("shares_buffer", from_the_buffer, into_the_buffer)
    right = cube("shares_buffer_right", right_cube)
    return (lambda x: broken(x) + broken(2 * x)), (lambda x: right(x) + right(2 * x))


# --- the same again --------------------------------------------------------------------------------------------------


@fault("not_repeatable", "raises")
def throws_away_what_it_kept():
    def keeps(ctx, inputs, output):
        ctx.kept = [*inputs]

    def pops(ctx, g):
        x = ctx.kept.pop()  # BUG
        return 3 * x**2 * g

    return cube("pops", pops, keeps), cube("pops_right", right_cube)


@fault("not_repeatable")
def adds_noise():
    def noisy(ctx, g):
        (x,) = ctx.saved_tensors
        noise = 1e-3 * torch.randn_like(x)  # BUG
        return (3 * x**2 + noise) * g

    return cube("noisy", noisy), cube("noisy_right", right_cube)


@fault("depends_on_create_graph")
def computes_less_where_a_graph_is_made():
    def differs(ctx, g):
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return 3 * x * g  # BUG
        return 3 * x**2 * g

    return cube("differs", differs), cube("differs_right", right_cube)


# --- what comes in, and what is asked for ----------------------------------------------------------------------------


@fault("not_linear")
def clips_the_gradient():
    def clips(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.clamp(-0.5, 0.5)  # BUG
        return 3 * x**2 * g

    return cube("clips", clips), cube("clips_right", right_cube)


@fault("not_linear")
def normalises_the_gradient():
    def normalises(ctx, g):
        (x,) = ctx.saved_tensors
        grad = 3 * x**2 * g
        return grad / grad.norm()  # BUG

    return cube("normalises", normalises), cube("normalises_right", right_cube)


@fault("missing_gradient", inputs=(real(3), real(3, seed=1)))
def asks_of_the_first_for_both():
    def first(ctx, g):
        a, b = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, None  # BUG
        return g * b, g * a

    return product("asks_first", first), product("asks_first_right", right_product)


def pair(name, backward):
    schema = "(Tensor x) -> (Tensor, Tensor)"
    return operator(name, lambda x: (x.square(), 2 * x), backward, schema=schema)


def uses_both(ctx, g, g_slope):
    (x,) = ctx.saved_tensors
    return 2 * g * x + 2 * g_slope


@fault("ignored_output_gradient")
def ignores_its_second_output():
    def ignores(ctx, g, g_slope):  # BUG
        (x,) = ctx.saved_tensors
        return 2 * g * x

    return pair("ignores", ignores), pair("ignores_right", uses_both)


@fault("nonfinite_gradient", inputs=(torch.zeros(2, 3, dtype=torch.double).requires_grad_(),))
def divides_by_a_norm_of_zero():
    def norm(x):
        return x.square().sum(-1, keepdim=True).sqrt()

    def saves_both(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output)

    def divides(ctx, g):
        x, n = ctx.saved_tensors
        return g * x / n  # BUG

    def guards(ctx, g):
        x, n = ctx.saved_tensors
        return torch.where(n > 0, g * x / n.clamp(min=1e-300), torch.zeros_like(x))

    return operator("divides", norm, divides, saves_both), operator("divides_right", norm, guards, saves_both)


# --- order 1 and 2 ---------------------------------------------------------------------------------------------------


@fault("wrong_gradient", "wrong_partial")
def is_a_little_off():
    def off(ctx, g):
        (x,) = ctx.saved_tensors
        return 3.006 * x**2 * g  # BUG

    return cube("off", off), cube("off_right", right_cube)


@fault("wrong_order", inputs=(real(3), real(3, seed=1)))
def returns_them_in_the_wrong_slots():
    def swapped(ctx, g):
        a, b = ctx.saved_tensors
        return g * a, g * b  # BUG

    return product("swapped", swapped), product("swapped_right", right_product)


@fault("escaped_temporary")
def keeps_a_slope_from_setup_context():
    def keeps(ctx, inputs, output):
        slope = 3 * inputs[0] ** 2  # BUG
        ctx.save_for_backward(slope)

    def multiplies(ctx, g):
        (slope,) = ctx.saved_tensors
        return g * slope

    return cube("keeps_slope", multiplies, keeps), cube("keeps_slope_right", right_cube)


@fault("graph_cut_in_backward")
def detaches_in_backward():
    def detaches(ctx, g):
        (x,) = ctx.saved_tensors
        x = x.detach()  # BUG
        return 3 * x**2 * g

    return cube("detaches", detaches), cube("detaches_right", right_cube)
