"""Wrong answers that no reply was written from: most get the right misconception, and none is accepted."""

import pytest

from simplegrad.lessons import exercise, judge

from .test_lessons import (
    AB,
    ABC,
    CHANGED,
    FIRST,
    GIVEN,
    MIXED,
    ONE,
    ROW,
    SAVED,
    TWO,
    WANTED,
    ZERO,
    ZEROS,
    X,
    mended,
    with_body,
)

SQUARES = "\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])"
START = exercise("16a").start
MODEL = exercise("16a").model
PROGRAMS = [
    ("1", "alias", AB + "x = a\ny = b\nz = x - y"),
    ("1", "leaf_counts", AB + "c = rand(2)\nd = rand(2)\ny = b * c"),
    ("1", "line_is_entry", AB + "y = ((a + b) * b) - (a / b)"),
    ("1", "pass_is_free", AB + "t = a - b\ny = t.exp()\nda, db = grad(y, [a, b])"),
    ("1", "other_inputs", AB + "t = a.exp()\nu = t + a\nv = u.sum()"),
    ("1", "too_few", AB + "y = b.exp()"),
    ("4", "zero_value", ABC + "z = zeros(2)\nL0 = (a * z + b).sum()" + WANTED),
    ("4", "times_zero", ABC + "L0 = (a - b * 0.0 + 0.0 * c).sum()" + WANTED),
    ("4", "uses_c", ABC + "L0 = (a * c + b * 0.0).sum()" + WANTED),
    ("4", "detached", ABC + "L0 = (a * b.detach()).sum()" + WANTED),
    ("4", "unused", ABC + "t = b * b\nL0 = (a * 2.0).sum()" + WANTED),
    ("4", "uses_b", ABC + "L0 = (a * b).sum()" + WANTED),
    ("5", "sum_of_rows", ROW + "v = ones(3)\nL0 = (y * v).sum()\nrow, = grad(L0, [x])"),
    ("5", "off_by_one", ROW + "row, = grad(y[0], [x])"),
    ("5", "off_by_one", ROW + "v = tensor([0.0, 0.0, 1.0])\nL0 = (v * y).sum()\nrow, = grad(L0, [x])"),
    ("5", "passes", ROW + "a, = grad(y[2], [x])\nrow, = grad(y[1], [x])"),
    ("5", "other", ROW + "v = tensor([0.0, 2.0, 0.0])\nrow, = grad((y * v).sum(), [x])"),
    ("7", "same_loss", MIXED + "mixed, dbb = grad(L0 * 1.0, [a, b])"),
    ("7", "db_by_b", MIXED + "L1 = db.sum()\nda2, mixed = grad(L1, [a, b])"),
    ("7", "norm", MIXED + "L1 = (da ** 2).sum()\nmixed, = grad(L1, [b])"),
    ("7", "da_by_a", MIXED + "L1 = da.sum()\nmixed, = grad(L1, [a])"),
    ("10", "through_t", FIRST + "grad(db.sum(), [a, b])"),
    ("10", "not_of_gradients", FIRST + "grad((a + b).sum(), [a, b])"),
    ("10", "not_of_gradients", FIRST + "grad(L0, [a, b])"),
    ("10", "zero", FIRST + "grad((da * 0.0).sum(), [a, b])"),
    ("13", "plus", GIVEN + "L0 = (f(a, b) - a).sum()" + SQUARES),
    ("13", "plus", GIVEN + "L0 = (f(a, b) * 2.0).sum()" + SQUARES),
    ("13", "called_twice", GIVEN + "L0 = f(a, b).sum() + f(a, b).sum()" + SQUARES),
    ("13", "input_changed", GIVEN + "L0 = f(a, b * b).sum()" + SQUARES),
    ("16b", "after_reads_old", CHANGED + "y = x * x\nz = y.exp()\nw = y * x\nL0 = (z * y).sum()\ndx, = grad(L0, [x])"),
    ("16b", "z_reads_new", CHANGED + "y = x * x\ny = y * x\nz = y.exp()\nL0 = (y * z).sum()\ndx, = grad(L0, [x])"),
    ("16b", "old_cut", CHANGED + "y = x * x\nz = y.exp()\nn = y.detach() * x\nL0 = (z * n).sum()\ndx, = grad(L0, [x])"),
]
PROPAGATES = [
    ("2", "swapped", with_body("2", ONE + "da = dL_dr * a\ndb = dL_dr * b\nreturn [da, db]")),
    ("2", "no_incoming", with_body("2", ONE + "return [b * 1.0, a * 1.0]")),
    ("2", "one_none", with_body("2", ONE + "return [dL_dr * b, None]")),
    ("2", "sign", with_body("2", ONE + "return [-dL_dr * b, -dL_dr * a]")),
    ("2", "one_sum", with_body("2", ONE + "return [b * dL_dr + a * dL_dr]")),
    ("3", "counted_again", with_body("3", ONE + "return [dL_dr * b, dL_dr * a * 2.0 + dL_dr]")),
    ("3", "subtracted", with_body("3", ONE + "return [dL_dr * b, dL_dr * a - dL_dr]")),
    ("3", "multiplied", with_body("3", ONE + "return [dL_dr * b, a * dL_dr * dL_dr]")),
    ("3", "raw_values", with_body("3", ONE + "return [dL_dr * b.value, dL_dr * a.value + dL_dr]")),
    ("6", "not_summed", with_body("6", ONE + "return [dL_dr, 0.0 - dL_dr]")),
    ("6", "mean", with_body("6", ONE + "return [dL_dr, -(dL_dr.sum() / 4.0)]")),
    ("6", "sign_of_x", with_body("6", ONE + "return [-dL_dr, -dL_dr.sum()]")),
    ("6", "both_summed", with_body("6", ONE + "return [dL_dr.sum(), -dL_dr.sum()]")),
    ("6", "one_of_four", with_body("6", ONE + "return [dL_dr, -dL_dr[0]]")),
    ("8", "sign", with_body("8", ONE + "return [dL_dr * (r * r)]")),
    ("8", "detached", with_body("8", ONE + "y = r.detach()\nreturn [-(dL_dr * y * y)]")),
    ("8", "no_square", with_body("8", ONE + "return [dL_dr / x]")),
    ("8", "no_incoming", with_body("8", ONE + "return [-(r * r)]")),
    ("9a", "forgot_b_in_t", with_body("9a", ONE + "t = a + b\nreturn [dL_dr * b, t * dL_dr]")),
    ("9a", "forgot_product", with_body("9a", ONE + "return [dL_dr * b, dL_dr * b]")),
    ("9b", "other_half", with_body("9b", ONE + "return [dL_dr * (1.0 - r)]")),
    ("9b", "of_tanh", with_body("9b", ONE + "return [dL_dr * (1.0 - r * r)]")),
    ("9b", "detached", with_body("9b", ONE + "s = r.detach()\nreturn [dL_dr * s * (1.0 - s)]")),
    (
        "11",
        "no_none",
        with_body("11", TWO + "dL_dt = dL_dr * b + dL_dt\nreturn [dL_dt, dL_dt + dL_dr * t]", "[r.name, t.name]"),
    ),
    (
        "11",
        "declared_not_used",
        with_body("11", TWO + ZEROS + "g = dL_dr * b\nreturn [g, g + dL_dr * t]", "[r.name, t.name]"),
    ),
    (
        "11",
        "order_of_outputs",
        with_body(
            "11", TWO + ZEROS + "dL_dt = dL_dr * b + dL_dt\nreturn [dL_dt, dL_dr * t + dL_dt]", "[t.name, r.name]"
        ),
    ),
    ("12", "zeros", with_body("12", TWO + ZEROS + "g = dL_dr * b + dL_dt\nreturn [g * t, dL_dr * t]")),
    (
        "12",
        "recompute",
        with_body("12", ONE.replace("dL_dr", "dL_dr") + "e = a.exp()\nreturn [dL_dr * b * e, dL_dr * e]", "[r.name]"),
    ),
    ("12", "none_for_r", with_body("12", TWO + "g = add_optional(dL_dr * b, dL_dt)\nreturn [g * t, dL_dr * t]")),
    ("14", "zeros_at_the_top", with_body("14", TWO + ZEROS + "g = dL_dr * b + dL_dt\nreturn [g, dL_dr * t + g]")),
    (
        "14",
        "second_forgotten",
        with_body(
            "14",
            TWO + "g = dL_dr * b\nif dL_dt is not None:\n    g = g + dL_dt\nreturn [g, g + dL_dr * t]",
        ),
    ),
    (
        "11",
        "only_t_checked",
        with_body(
            "11", TWO + ZERO.format("dL_dt") + "g = dL_dr * b + dL_dt\nreturn [g, dL_dr * t + g]", "[r.name, t.name]"
        ),
    ),
]
EXPRESSIONS = [
    ("15", "too_few", "a"),
    ("15", "too_few", "a * b"),
    ("15", "too_few", "(a * b).exp()"),
    ("15", "too_few", "a - b - a"),
    ("15", "factor", "(a + b) * (a - b)"),
    ("15", "factor", "a * b * a + b"),
    ("15", "factor", "(a + b + a) * b"),
    ("15", "factor", "(a + b) ** 2 + a"),
    ("15", "factor", "(a * b).sin() + a"),
    ("15", "factor", "((a + b) * b).log()"),
    ("15", "factor", "b * (a - b) - a"),
    ("15", "factor", "(a - b).cos() * b"),
    ("15", "own_result", "a.exp() + a + b"),
    ("15", "own_result", "tanh(a) + tanh(b) + a"),
    ("15", "own_result", "b.sqrt() + a + b"),
    ("15", "own_result", "sigmoid(a) - a - b"),
    ("15", "own_result", "a.softmax(dim=-1) + b + b"),
    ("15", "own_result", "(a.tanh() + b) + b"),
    ("15", "division", "(a / b) - (a + b)"),
    ("15", "division", "a + a / b + b"),
    ("15", "division", "1.0 / a + b + b"),
]
FUNCTIONS = [
    ("16a", "not_returned", mended(back="e = ctx.e\nreturn e / (e + 1.0) * dL_dy")),
    ("16a", "not_returned", mended("ctx.e = e", "ctx.kept = e", "return dL_dy * ctx.kept / (1 + ctx.kept)")),
    ("16a", "not_returned", mended("ctx.e = e", "ctx.e = e.clone()")),
    ("16a", "not_returned", mended("ctx.e = e", "ctx.s = e / (1 + e)", "return dL_dy * ctx.s")),
    (
        "16a",
        "not_returned",
        mended("ctx.e = e", "ctx.save_for_backward(x, e)", "x, e = ctx.saved_tensors\nreturn dL_dy * e / (1 + e)"),
    ),
    ("16a", "returned_not_used", mended(two=True)),
    ("16a", "returned_not_used", mended(back=f"{SAVED}return dL_dy * e / (1 + e) + dL_de", two=True)),
    ("16a", "returned_not_used", mended(back=f"{SAVED}return dL_dy * e / (1 + e) + dL_de * 0.0", two=True)),
    ("16a", "returned_not_used", mended(back=f"{SAVED}return dL_dy * e / (1 + e) - dL_de * e", two=True)),
    (
        "16a",
        "non_differentiable",
        MODEL.replace("        return torch", "        ctx.mark_non_differentiable(e)\n        return torch"),
    ),
    (
        "16a",
        "no_grad_backward",
        MODEL.replace("        return dL_dy", "        with torch.no_grad():\n            return dL_dy"),
    ),
    ("16a", "no_grad_backward", mended(back="with torch.no_grad():\n    k = ctx.e / (1 + ctx.e)\nreturn dL_dy * k")),
    ("16a", "once", MODEL.replace("method\n    def backward", "method\n    @once_differentiable\n    def backward")),
    (
        "16a",
        "detached",
        MODEL.replace("e, = ctx", "e, = ctx").replace("return dL_dy * e", "e = e.detach()\n        return dL_dy * e"),
    ),
    (
        "16a",
        "one_gradient",
        START.replace("torch.log(1 + e)", "torch.log(1 + e), e").replace("apply(x)", "apply(x)[0]"),
    ),
    (
        "16a",
        "two_returned",
        MODEL.replace("return dL_dy * e / (1 + e) + dL_de * e", "return (dL_dy * e / (1 + e), dL_de)"),
    ),
    (
        "16a",
        "e_for_the_caller",
        mended(back=f"{SAVED}return dL_dy * e / (1 + e) + e * dL_de", two=True).replace("(x)[0]", "(x)"),
    ),
    ("16a", "again", mended("ctx.e = e", "ctx.save_for_backward(x)", f"{X}return dL_dy * x.exp() / (1 + x.exp())")),
    ("16a", "again", mended("ctx.e = e", "ctx.x = x", "e = ctx.x.exp()\nreturn e * dL_dy / (e + 1.0)")),
    ("16a", "no_chain", MODEL.replace("dL_dy * e / (1 + e)", "dL_dy / (1 + e)")),
    ("16a", "no_incoming", MODEL.replace("dL_dy * e / (1 + e)", "e / (1 + e)")),
    ("16a", "not_started", MODEL.replace("return dL_dy * e / (1 + e) + dL_de * e", "return None")),
    ("16a", "no_function", "def log1pexp(x):\n    e = x.exp()\n    return (e + 1.0).log()"),
]
KINDS = {"program": PROGRAMS, "propagate": PROPAGATES, "expression": EXPRESSIONS, "function": FUNCTIONS}


@pytest.mark.parametrize("kind", KINDS)
def test_of_answers_held_back_nine_in_ten_get_the_right_misconception(kind):
    answers = KINDS[kind]
    assert len(answers) > 20
    replies = [judge(name, text) for name, _, text in answers]
    assert not any(reply.solved for reply in replies)
    missed = [(name, meant, reply.name) for (name, meant, _), reply in zip(answers, replies) if reply.name != meant]
    assert len(missed) <= 0.1 * len(answers), missed


OTHER_WAYS = [  # right answers, written as few would
    ("1", AB + "for i in range(2):\n    a = a * b\nz = a.exp()"),
    ("1", AB + "def twice(x):\n    return x * b + b\nq = twice(a)\nq.sum()"),
    ("2", with_body("2", ONE + "return [-(-dL_dr * b), dL_dr * a + 0.0]")),
    ("3", with_body("3", ONE + "return [dL_dr * b, dL_dr - (-a) * dL_dr]")),
    ("4", ABC + "L0 = torch.where(a > 0.0, a, b).sum()" + WANTED),
    ("5", ROW + "row, = grad(y[1:2].sum(), [x])"),
    ("6", with_body("6", ONE + "return [dL_dr * 1.0, (-dL_dr).mean() * 4.0]")),
    ("7", MIXED + "L1 = da[0] + da[1]\nmixed, = grad(L1, [b])"),
    ("8", with_body("8", ONE + "return [-(dL_dr * r) / x]")),
    ("9a", with_body("9a", ONE + "s = add_optional(a, b)\nreturn [dL_dr * b, dL_dr * b + s * dL_dr]")),
    ("9b", with_body("9b", ONE + "g = dL_dr * r\nreturn [g - g * r]")),
    ("13", GIVEN + "L0 = (f(a, b)**2).sum()" + SQUARES),
    ("15", "-(-(-a)) + b"),
    ("15", "a * b + a * b"),
    ("15", "def g(x, y):\n    s = x - y\n    return s - x - y"),
    ("15", "t = a\nt += b\nt += b\nt += a\nt"),
    ("15", "return torch.neg(torch.neg(a)) - b"),
    ("16b", CHANGED + "def y(v):\n    return v * v\nL0 = (y(x) * x * y(x).exp()).sum()\ndx, = grad(L0, [x])"),
]


@pytest.mark.parametrize("name, text", OTHER_WAYS)
def test_what_is_right_in_another_way_is_accepted(name, text):
    reply = judge(name, text)
    assert reply.solved, reply.sentence
