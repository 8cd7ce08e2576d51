"""Two PyTorch runs: where they first part, by operation, module and line; and that equal ones agree."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from simplegrad import Program, Trace, compare, record_torch
from simplegrad.__main__ import main
from simplegrad.comparison.pairing import paired, slid
from simplegrad.language import EXAMPLES


def net(kind=nn.GELU, **more) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), kind(**more), nn.LayerNorm(16), nn.Linear(16, 4))


def ran(step, make=net, values="norm") -> Trace:
    torch.manual_seed(1)
    model = make()
    torch.manual_seed(2)
    x = torch.randn(6, 8)
    with record_torch(model, values=values) as trace:
        step(model, x)
    return trace


def plain(m, x):
    m(x).square().mean().backward()


def layer_by_layer(m, x):
    h = m[0](x)
    m[3](m[2](m[1](h))).square().mean().backward()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        return (q @ k.T / 8**0.5).softmax(-1) @ v


class Fused(Attention):
    def forward(self, x):
        q, k, v = (each(x)[None, None] for each in (self.q, self.k, self.v))
        return F.scaled_dot_product_attention(q, k, v)[0, 0]


def power(m, x):
    (m(x) ** 2).mean().backward()


def product(m, x):
    y = m(x)
    ((y * y).sum() / y.numel()).backward()


def checkpointed(m, x):
    h = checkpoint(lambda h: m[2](m[1](h)), m[0](x), use_reentrant=False)
    m[3](h).square().mean().backward()


def in_half(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = m(x)
    y.float().square().mean().backward()


def tanh_then_sin(m, x):
    a = m[0](x).tanh()
    b = m[0](x * 2).sin()
    (a * b).mean().backward()


def sin_then_tanh(m, x):
    b = m[0](x * 2).sin()
    a = m[0](x).tanh()
    (a * b).mean().backward()


@pytest.mark.parametrize(
    "left, right",
    [(plain, plain), (plain, power), (plain, product), (plain, layer_by_layer), (plain, checkpointed)]
    + [(in_half, in_half), (tanh_then_sin, sin_then_tanh)],
)
def test_the_same_in_other_words_agrees(left, right):
    assert compare(ran(left), ran(right)).divergence is None


def pictures():
    """A step in which the biases in front of a normalisation get nothing but rounding."""
    convs = [(nn.Conv2d(count, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for count in (3, 8, 8)]
    layers = [layer for three in convs for layer in three]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def seen_in(layout):
    def step(model, _):
        x = torch.randn(8, 3, 12, 12).to(memory_format=layout)
        F.cross_entropy(model.to(memory_format=layout)(x), torch.arange(8) % 3).backward()

    return step


class InHalf(nn.Module):
    """A sum of many, in one order or in the other one, in bfloat16."""

    def __init__(self, turned):
        super().__init__()
        self.enc, self.dec, self.turned = nn.Linear(8, 64), nn.Linear(64, 4), turned
        self.between = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))

    def forward(self, x):
        h = self.enc(x.bfloat16())
        parts = [layer(h).tanh() for layer in self.between]
        for part in reversed(parts) if self.turned else parts:
            h = h + part
        return self.dec(h)


def in_single_at_the_end(m, x):
    m(x).float().log_softmax(-1)[:, 0].mean().backward()


def test_what_is_only_rounding_agrees():
    """A gradient that is zero by mathematics has the size of the rounding of what is summed up for it."""
    layouts = torch.contiguous_format, torch.channels_last
    assert compare(*(ran(seen_in(layout), pictures) for layout in layouts)).agrees is True


def test_what_was_computed_in_half_precision_is_judged_by_it():
    left, right = (ran(in_single_at_the_end, lambda t=t: InHalf(t).bfloat16()) for t in (False, True))
    assert compare(left, right).agrees is True


def test_a_gradient_that_is_detached_before_it_is_read_is_told_at_that_line():
    def penalty(detaches):
        def step(m, x):
            x.requires_grad_()
            (given,) = torch.autograd.grad(m(x).sum(), x, create_graph=True)
            given = given.detach() if detaches else given  # here
            (m(x).square().mean() + given.square().mean()).backward()

        return step

    found = compare(ran(penalty(False)), ran(penalty(True))).divergence
    assert found.where == "backward pass 2" and found.right_place.text.strip().endswith("# here")


def test_a_fused_kernel_agrees_with_what_it_stands_for():
    comparison = compare(ran(plain, Attention), ran(plain, Fused))
    assert comparison.agrees is True and "agree" in str(comparison)


def scaled(m, x):
    h = m[0](x)
    h = h * 1.01  # here
    m[3](m[2](m[1](h))).square().mean().backward()


def kept_in_part(m, x):
    h = m[0](x)
    keep = torch.ones(16).cumsum(0) > 4
    h = h * keep  # here
    m[3](m[2](m[1](h))).square().mean().backward()


def halved_loss(m, x):
    loss = m(x).square().mean()
    loss = loss / 2  # here
    loss.backward()


def detached(m, x):
    h = m[0](x)
    y = m[3](m[2](m[1](h)))
    aside = h.detach().square().mean()  # here
    (y.square().mean() + aside).backward()


def not_detached(m, x):
    h = m[0](x)
    y = m[3](m[2](m[1](h)))
    aside = h.square().mean()
    (y.square().mean() + aside).backward()


def clipped_by_a_hook(m, x):
    h = m[0](x)
    h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
    m[3](m[2](m[1](h))).square().mean().backward()


def scaled_by_a_hook_on_a_leaf(m, x):
    m[0].weight.register_hook(lambda g: g * 0.5)  # here
    plain(m, x)


@pytest.mark.parametrize(
    "left, right, where, op, how",
    [
        (layer_by_layer, scaled, "forward", "Mul", "extra"),
        (scaled, layer_by_layer, "forward", "Mul", "missing"),
        (plain, halved_loss, "forward", "Div", "extra"),
        (layer_by_layer, kept_in_part, "forward", "Mul", "extra"),  # not what makes the mask
        (not_detached, detached, "backward pass 1", "Add", "missing"),
        (layer_by_layer, clipped_by_a_hook, "backward pass 1", "Addmm", "value"),
        (plain, scaled_by_a_hook_on_a_leaf, "backward pass 1", "AccumulateGrad", "value"),
    ],
)
def test_where_two_runs_part(left, right, where, op, how):
    found = compare(ran(left), ran(right)).divergence
    assert (found.where, found.op, found.how) == (where, op, how)
    lines, first = inspect.getsourcelines(right)
    marked = [first + i for i, line in enumerate(lines) if "# here" in line]
    assert not marked or found.right_place.first in marked


@pytest.mark.parametrize(
    "kind, more, module", [(nn.GELU, {"approximate": "tanh"}, "1"), (nn.SiLU, {}, "1"), (nn.ReLU, {}, "1")]
)
def test_another_activation_is_named_with_its_module(kind, more, module):
    found = compare(ran(plain), ran(plain, lambda: net(kind, **more))).divergence
    assert (found.where, found.module) == ("forward", module) and found.born


def test_another_parameter_is_said_to_have_come_in():
    def other():
        model = net()
        with torch.no_grad():
            model[3].weight[0, 0] += 0.5
        return model

    found = compare(ran(plain), ran(plain, other)).divergence
    assert (found.how, found.module, found.born) == ("input", "3", False) and "3.weight" in found.sentence


def test_a_backward_of_ones_own_is_named_with_the_line_inside():
    def swish(right: bool):
        class Swish(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * torch.sigmoid(x)

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                s = torch.sigmoid(x)
                return g * s * (1 + x * (1 - s)) if right else g * s * (1 + x * s)

        return lambda m, x: m[3](m[2](Swish.apply(m[0](x)))).square().mean().backward()

    found = compare(ran(swish(True)), ran(swish(False))).divergence
    assert (found.where, found.op, found.how) == ("backward pass 1", "Swish", "value")
    assert "1 + x * s" in found.right_place.text


def in_a_loop(more: bool):
    """Of which one round has one operation more, among others of its name."""

    def step(m, x):
        for round in range(6):
            x = x + 0.1 * (x * m[0].weight[0]).sin()
            if more and round == 3:
                x = x * 1.01  # one more
        plain(m, x)

    return step


@pytest.mark.parametrize("more", [False, True])
def test_one_operation_more_among_its_like_is_told_at_its_own_line(more):
    found = compare(ran(in_a_loop(more)), ran(in_a_loop(not more))).divergence
    assert (found.op, found.how) == ("Mul", "missing" if more else "extra")
    assert "one more" in (found.left_place if more else found.right_place).text


def test_what_stands_alone_moves_up_to_where_the_others_are_most_alike():
    pairs = [(0, 0), (1, 1), (2, 2), (3, 4)]
    lines = "pqrs", "ppqrs"  # by their lines, the first of the right side is the one more
    same = slid(pairs, "aaab", "aaaab", lambda i, j: lines[0][i] == lines[1][j])
    assert same == [(0, 0), (1, 2), (2, 3), (3, 4)]
    assert slid(pairs, "aaab", "aaaab", lambda i, j: 0) == pairs


def test_a_backward_that_leaves_something_out_is_named_with_its_last_line():
    def square(right: bool):
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, g):
                dx = g * ctx.saved_tensors[0]  # half of it
                if right:
                    dx = dx * 2
                return dx

        return lambda m, x: Square.apply(m(x)).mean().backward()

    found = compare(ran(square(True)), ran(square(False))).divergence
    assert (found.where, found.op) == ("backward pass 1", "Square") and "half of it" in found.right_place.text


def in_two_rounds(clear: bool):
    def step(m, x):
        optimizer = torch.optim.SGD(m.parameters(), 0.1)
        plain(m, x[:3])
        if clear:
            optimizer.zero_grad()
        plain(m, x[3:])
        optimizer.step()

    return step


@pytest.mark.parametrize("left, how", [(True, "missing"), (False, "extra")])
def test_a_gradient_that_one_run_alone_clears_is_told(left, how):
    found = compare(ran(in_two_rounds(left)), ran(in_two_rounds(not left))).divergence
    assert (found.where, found.op, found.how) == ("backward pass 2", "AccumulateGrad", how)
    places = (found.left_place, found.right_place)
    assert "zero_grad" in places[left is False].text and ".backward()" in places[left].text


def scaled_by_a_scaler(m, x):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(m(x).square().mean()).backward()


def test_a_scale_that_one_run_lacks_is_missing_where_its_pass_begins():
    found = compare(ran(scaled_by_a_scaler), ran(plain)).divergence
    assert (found.where, found.op, found.how) == ("backward pass 1", "Mul", "missing")
    assert "scaler" in found.left_place.text and "m(x)" in found.right_place.text
    assert "scaler" not in found.right_place.text


def test_a_pass_that_one_run_lacks_is_told():
    def twice(m, x):
        plain(m, x[:3])
        plain(m, x[3:])

    found = compare(ran(twice), ran(lambda m, x: plain(m, x[:3]))).divergence
    assert (found.where, found.how) == ("backward pass 2", "missing")


def test_without_numbers_nothing_is_compared():
    comparison = compare(ran(plain, values="none"), ran(scaled, values="none"))
    assert comparison.agrees is None and "kept no numbers" in str(comparison)


def test_layers_are_told_side_by_side():
    rows = {row.module: row for row in compare(ran(layer_by_layer), ran(scaled)).layers}
    assert rows["0"].left == pytest.approx(rows["0"].right) and rows["1"].left != pytest.approx(rows["1"].right)


def test_the_command_line_says_it_of_saved_traces(tmp_path, capsys):
    for name, step in (("a", layer_by_layer), ("b", scaled)):
        ran(step).save(tmp_path / f"{name}.trace")
    paths = [str(tmp_path / "a.trace"), str(tmp_path / "b.trace")]
    assert main(["diff", *paths]) == 1
    assert "mul runs on the right only" in capsys.readouterr().out
    assert main(["diff", paths[0], paths[0]]) == 0
    assert main(["diff", paths[0], str(tmp_path / "none.trace")]) == 2


def test_pairing_is_in_order_and_matches_a_long_stretch_by_what_stands_once():
    assert paired("abcd", "abxd") == [(0, 0), (1, 1), (3, 3)]
    left, right = [*range(5000), "x", *range(5000, 9000)], [*range(4000), "y", *range(4000, 9000)]
    pairs = paired(left, right)
    assert len(pairs) == 9000 and all(left[i] == right[j] for i, j in pairs) and pairs == sorted(pairs)


def test_two_programs_are_told_as_data_too(tmp_path, capsys):
    for name, aggregate in (("left", "simple_variable_wrong"), ("right", "simple")):
        Program.parse(EXAMPLES["gradient-of-gradient"].text).run(aggregate).save(tmp_path / f"{name}.trace")
    assert main(["diff", str(tmp_path / "left.trace"), str(tmp_path / "right.trace"), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["agrees"] is False and said["divergence"]["variable"] == "t"


# -- the same numbers at the ends, and what was done before the run ----------------------------------------------------


def weights(m, x, later):
    q, k, v = m.query(x), m.key(x), m.value(x)
    scores = q @ k.mT / 2 if later else (q / 2) @ k.mT
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("other", [False, None])
def test_what_is_scaled_elsewhere_on_the_way_to_the_same_ends_agrees(other):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

    def step(later):
        torch.manual_seed(0)
        model, x = Attention(), torch.randn(2, 5, 4)
        with record_torch(model) as trace:
            made = weights(model, x, later) if later is not None else fused(model, x)
            made.square().mean().backward()
        return trace

    def fused(m, x):
        return nn.functional.scaled_dot_product_attention(m.query(x), m.key(x), m.value(x))

    found = compare(step(True), step(other))
    assert found.agrees is True, found


def trained(prepare=None, hook=None, rate=0.1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    if prepare:
        nn.init.orthogonal_(model[2].weight)  # before the run
    if hook:
        model[2].weight.register_hook(lambda g: g / 2)  # a hook
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with record_torch(model) as trace:
        for _ in range(2):
            model(torch.ones(2, 3)).square().mean().backward()
            optimizer.step()  # moves it
            optimizer.zero_grad()
    return trace


@pytest.mark.parametrize(
    ("changes", "where", "how", "line"),
    [
        ({"prepare": True}, "forward", "input", "# before the run"),
        ({"hook": True}, "backward pass 1", "value", "# a hook"),
        ({"rate": 0.2}, "forward", "value", "# moves it"),
    ],
)
def test_the_line_that_changed_a_parameter_is_named(changes, where, how, line):
    found = compare(trained(), trained(**changes)).divergence
    assert (found.where, found.how) == (where, how), found
    assert found.right_place.text.endswith(line), found


class Rolled(nn.Module):
    """`by`: how far it rolls what comes in, which changes no norm."""

    def __init__(self, by):
        super().__init__()
        self.by, self.fc = by, nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x.roll(self.by, -1).reshape(6, 8).neg().abs())


def test_what_is_called_with_other_numbers_is_named_though_its_norm_is_the_same():
    divergence = compare(ran(plain, lambda: Rolled(1)), ran(plain, lambda: Rolled(2))).divergence
    assert (divergence.where, divergence.op, divergence.how) == ("forward", "Roll", "value")
    assert "x.roll(self.by, -1)" in divergence.right_place.text
    assert "roll is called with other numbers" in divergence.sentence
    assert compare(ran(plain, lambda: Rolled(1)), ran(plain, lambda: Rolled(1))).agrees


def test_an_empty_run_is_named_as_that():
    with record_torch() as empty:
        pass
    assert str(compare(ran(plain), empty)) == "Not compared: the right run is empty."
