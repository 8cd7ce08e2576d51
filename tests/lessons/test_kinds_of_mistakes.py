"""Kinds of mistakes that any exercise may meet, each told for what it is; and right answers in unusual words."""

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
    TWO,
    WANTED,
    ZEROS,
    X,
    mended,
    with_body,
)

SQUARES = "\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])"
BOTH = "[r.name, t.name]"
MODEL = exercise("16a").model
WRONG = [
    ("1", "too_few", AB + "print(a + b)\n"),
    ("2", "sign", with_body("2", ONE + "return [dL_dr * b, -(dL_dr * a)]")),
    ("2", "factor", with_body("2", ONE + "return [dL_dr * b * 2.0, dL_dr * a * 2.0]")),
    ("2", "uses_output", with_body("2", ONE + "return [dL_dr * r, dL_dr * r]")),
    (
        "2",
        "hard_coded",
        with_body("2", ONE + "return [dL_dr * tensor([3.0, 0.25, -2.0]), dL_dr * tensor([0.5, -1.0, 2.0])]"),
    ),
    ("2", "detached", with_body("2", ONE + "return [dL_dr * b.detach(), dL_dr * a.detach()]")),
    ("2", "wrong_shape", with_body("2", ONE + "return [(dL_dr * b).sum(), (dL_dr * a).sum()]")),
    ("2", "multiplied_twice", with_body("2", ONE + "dL_dr *= b\nreturn [dL_dr, dL_dr * a]")),
    ("2", "one_none", with_body("2", ONE + "return [None, dL_dr * a]")),
    ("2", "no_list", with_body("2", ONE + "return dL_dr * b")),
    ("2", "not_linear", with_body("2", ONE + "return [dL_dr * dL_dr * b, dL_dr * dL_dr * a]")),
    ("2", "nothing_returned", with_body("2", ONE + "da = dL_dr * b\ndb = dL_dr * a")),
    ("2", "none_returned", with_body("2", ONE + "return None")),
    ("3", "none_returned", with_body("3", ONE + "return")),
    ("2", "divided", with_body("2", ONE + "return [dL_dr / a, dL_dr / b]")),
    ("2", "grad_inside", with_body("2", ONE + "return grad(r, [a, b])")),
    ("2", "wrong_count", with_body("2", ONE + "return [dL_dr * b, dL_dr * a, dL_dr]")),
    ("3", "wrong_shape", with_body("3", ONE + "return [dL_dr * b, (dL_dr * a).sum() + dL_dr.sum()]")),
    ("3", "wrong_count", with_body("3", ONE + "return [dL_dr * b, dL_dr * a, dL_dr]")),
    ("3", "swapped", with_body("3", ONE + "return [dL_dr * a + dL_dr, dL_dr * b]")),
    ("3", "of_result", with_body("3", ONE + "return [dL_dr * b, dL_dr * r]")),
    ("3", "of_a", with_body("3", ONE + "return [dL_dr * (b + 1.0), dL_dr * (a + 1.0)]")),
    ("3", "factor", with_body("3", ONE + "return [dL_dr * b, (dL_dr * a + dL_dr) / 2.0]")),
    ("3", "detached", with_body("3", ONE + "return [dL_dr * b.detach(), dL_dr * a.detach() + dL_dr]")),
    ("3", "nothing_returned", with_body("3", ONE + "g = [dL_dr * b, dL_dr * a + dL_dr]")),
    ("4", "other_wanted", ABC + "b = b * 0.0\nL0 = a.sum()" + WANTED),
    ("4", "uses_c", ABC + "L0 = (a + b * 0.0 + c).sum()" + WANTED),
    ("5", "hard_coded", ROW + "row = tensor([2.0, 8.0, 2.0])"),
    ("5", "weights_on_x", ROW + "v = tensor([0.0, 1.0, 0.0])\nrow, = grad((x * v).sum(), [x])"),
    ("5", "masked_result", ROW + "v = tensor([0.0, 1.0, 0.0])\nr, = grad(y.sum(), [x])\nrow = r * v"),
    ("6", "detached", with_body("6", ONE + "return [dL_dr, -dL_dr.detach().sum()]")),
    ("6", "factor", with_body("6", ONE + "return [dL_dr, -dL_dr.sum() * 4.0]")),
    ("6", "no_incoming", with_body("6", ONE + "return [dL_dr, tensor(-4.0)]")),
    ("6", "times_value", with_body("6", ONE + "return [dL_dr * x, -(dL_dr * m).sum()]")),
    ("6", "swapped", with_body("6", ONE + "return [-dL_dr.sum(), dL_dr]")),
    ("6", "raw_values", with_body("6", ONE + "return [dL_dr, -(dL_dr.value.sum())]")),
    ("7", "da_by_a", MIXED + "L1 = da.sum()\nmixed, dbb = grad(L1, [a, b])"),
    ("7", "hard_coded", MIXED + "d, = grad(da.sum(), [b])\nmixed = tensor([6.0, 8.0])"),
    ("8", "factor", with_body("8", ONE + "return [-(dL_dr * r * r * 2.0)]")),
    ("8", "hard_coded", with_body("8", ONE + "return [dL_dr * tensor([-4.0, -0.4444, -0.25])]")),
    ("8", "log", with_body("8", ONE + "return [dL_dr * x.log()]")),
    ("8", "cube", with_body("8", ONE + "return [-(dL_dr * r * r * r)]")),
    ("8", "of_log", with_body("8", ONE + "return [-(dL_dr * x * x)]")),
    ("8", "nothing_returned", with_body("8", ONE + "y = -(dL_dr * r * r)")),
    ("8", "not_linear", with_body("8", ONE + "g = dL_dr * r\nreturn [-(g * g)]")),
    ("9a", "raw", with_body("9a", ONE + "g = dL_dr * b\nreturn [g, g + dL_dr * (a.value + b.value)]")),
    ("9a", "a_wrong", with_body("9a", ONE + "t = a + b\nreturn [dL_dr * t, dL_dr * t + dL_dr * b]")),
    ("9a", "swapped", with_body("9a", ONE + "t = a + b\ng = dL_dr * b\nreturn [g + dL_dr * t, g]")),
    ("9a", "detached", with_body("9a", ONE + "t = (a + b).detach()\nreturn [dL_dr * b, dL_dr * b + dL_dr * t]")),
    ("9b", "sign", with_body("9b", ONE + "return [dL_dr * (r - 1.0) * r]")),
    ("9b", "made_of_raw", with_body("9b", ONE + "return [dL_dr * Variable(r.value * (1.0 - r.value))]")),
    ("9b", "factor", with_body("9b", ONE + "return [dL_dr * r * (1.0 - r) * 3.0]")),
    ("11", "without", with_body("11", ONE + "g = dL_dr * b\nreturn [g, g + dL_dr * (a + b)]")),
    (
        "11",
        "detached",
        with_body("11", TWO + ZEROS + "g = dL_dr * b + dL_dt\nreturn [g, g + dL_dr * t.detach()]", BOTH),
    ),
    ("11", "unpacking", with_body("11", TWO + ZEROS + "g = dL_dr * b + dL_dt\nreturn [g, g + dL_dr * t]")),
    (
        "12",
        "wrong_outer_derivative",
        with_body(
            "12",
            TWO
            + (
                "db = None\nif dL_dr is not None:\n    dL_dt = add_optional(dL_dt, dL_dr * b)\n"
                "    db = dL_dr * t\nreturn [dL_dt * a, db]"
            ),
        ),
    ),
    (
        "12",
        "swapped",
        with_body(
            "12",
            TWO
            + (
                "db = None\nif dL_dr is not None:\n    dL_dt = add_optional(dL_dt, dL_dr * b)\n"
                "    db = dL_dr * t\nreturn [db, dL_dt * t]"
            ),
        ),
    ),
    (
        "12",
        "wrong_b",
        with_body(
            "12",
            TWO
            + (
                "db = None\nif dL_dr is not None:\n    dL_dt = add_optional(dL_dt, dL_dr * b)\n"
                "    db = dL_dr * r\nreturn [dL_dt * t, db]"
            ),
        ),
    ),
    (
        "12",
        "ignored",
        with_body(
            "12",
            TWO
            + (
                "if dL_dr is None:\n    return [dL_dt, None]\nif dL_dt is None:\n"
                "    return [dL_dr * b * t, dL_dr * t]\n"
                "return [dL_dt + dL_dr * b * t, dL_dr * t]"
            ),
        ),
    ),
    (
        "12",
        "none_for_t",
        with_body(
            "12", TWO + ("if dL_dr is None:\n    return [dL_dt * t, None]\nreturn [(dL_dt + dL_dr * b) * t, dL_dr * t]")
        ),
    ),
    (
        "12",
        "factor",
        with_body(
            "12",
            TWO
            + (
                "if dL_dr is None:\n    return [dL_dt * t, None]\n"
                "return [add_optional(dL_dt, dL_dr * b) * t * 2.0, dL_dr * t]"
            ),
        ),
    ),
    (
        "13",
        "first_alone",
        GIVEN + ("L0 = (f(a, b)).sum()\nda, db = grad(L0, [a, b])\nL1 = (da*da).sum() + L0\ngrad(L1, [a, b])"),
    ),
    (
        "14",
        "first_wrong",
        with_body(
            "14",
            TWO
            + (
                "if dL_dt is None:\n    g = dL_dr * b\n    return [g, dL_dr * t - g]\n"
                "if dL_dr is None:\n    return [dL_dt, dL_dt]\ng = dL_dt + dL_dr * b\n"
                "return [g, dL_dr * t + g]"
            ),
        ),
    ),
    (
        "14",
        "costs",
        with_body(
            "14",
            TWO
            + (
                "if dL_dt is None:\n    return [dL_dr * b, dL_dr * t + dL_dr * b]\n"
                "if dL_dr is None:\n    return [dL_dt, dL_dt]\ng = dL_dt + dL_dr * b\n"
                "return [g, dL_dr * t + g]"
            ),
        ),
    ),
    (
        "14",
        "both_forgotten",
        with_body(
            "14",
            TWO
            + (
                "if dL_dt is None:\n    g = dL_dr * b\n    return [g, dL_dr * t + g]\n"
                "if dL_dr is None:\n    return [dL_dt, dL_dt]"
            ),
        ),
    ),
    ("16a", "other_value", MODEL.replace("return torch.log(1 + e), e", "return e, torch.log(1 + e)")),
    ("16b", "z_reads_new", CHANGED + "y = x * x\ny = y * x\nz = y.exp()\nL0 = (y * z).sum()\ndx, = grad(L0, [x])"),
    (
        "16b",
        "other_gradient",
        CHANGED + ("y = x * x\nz = y.exp().detach()\nn = y * x\nL0 = (n * z).sum()\ndx, = grad(L0, [x])"),
    ),
]
RIGHT = [
    ("1", AB + "for i in range(1):\n    u = a * b\nv = b.exp()\nw = v - a"),
    ("1", AB + "def g(x, y):\n    return x * y\nt = g(a, b)\nu = g(t, b)\nv = t.sum()"),
    ("2", with_body("2", "g = dL_doutputs[0]\nout = [None, None]\nout = [g * b, g * a]\nreturn out")),
    (
        "2",
        (
            "def times(a, b):\n"
            '    out = Variable(torch.mul(a.value, b.value), name="out")\n'
            "    def back(gs):\n        g = gs[0]\n        return (b * g, g * a)\n"
            "    gradient_tape.append(TapeEntry([a.name, b.name], [out.name], back))\n"
            "    return out"
        ),
    ),
    ("3", with_body("3", ONE + ("g = dL_dr\nfor i in range(1):\n    g = g + dL_dr * a\nreturn [dL_dr * b, g]"))),
    (
        "3",
        (
            "def twice(a, b):\n    r = Variable(b.value * (a.value + 1.0))\n"
            "    def propagate(d):\n        g = d[0]\n"
            "        return [g * b, (a + 1.0) * g]\n"
            "    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))\n"
            "    return r"
        ),
    ),
    ("4", ABC + "z = b - b\nL0 = (a + z).sum()" + WANTED),
    ("4", ABC + "L0 = (a.exp() + (b > 10.0) * b).sum()" + WANTED),
    ("5", ROW + "L0 = y[1] * 1.0\nrow, = grad(L0, [x])"),
    ("5", ("x = tensor([1.0, 2.0, 3.0])\ny = x * x.sum()\nrow, = grad((y * tensor([0.0, 1.0, 0.0])).sum(), [x])")),
    ("6", with_body("6", ONE + "return [dL_dr, dL_dr.sum() * -1.0]")),
    ("6", with_body("6", ONE + "return [dL_dr, -(dL_dr.mean() * 4.0)]")),
    ("7", MIXED + "ones_ = ones(2)\nmixed, = grad((da * ones_).sum(), [b])"),
    ("7", AB + ("L0 = ((a + b) * b * b).sum()\ndb, = grad(L0, [b])\nmixed, = grad(db.sum(), [a])")),
    ("8", with_body("8", ONE + "return [dL_dr * (-(r ** 2))]")),
    ("8", with_body("8", ONE + "return [-(dL_dr / x) * r]")),
    ("9a", with_body("9a", ONE + "return [dL_dr * b, dL_dr * a + dL_dr * b + dL_dr * b]")),
    ("9b", with_body("9b", ONE + "q = 1.0 - r\nreturn [dL_dr * q * r]")),
    ("9b", with_body("9b", ONE + "return [dL_dr * r * r * (-x).exp()]")),
    ("10", FIRST + "L1 = (da ** 3).sum()\ngrad(L1, [b])"),
    (
        "11",
        with_body(
            "11",
            TWO
            + (
                "if dL_dt is None:\n    dL_dt = dL_dr * 0.0\nif dL_dr is None:\n"
                "    dL_dr = dL_dt * 0.0\ng = dL_dt + dL_dr * b\nreturn [g, g + t * dL_dr]"
            ),
            BOTH,
        ),
    ),
    (
        "11",
        with_body(
            "11",
            "dL_dt, dL_dr = dL_doutputs\n" + ZEROS + "g = dL_dt + dL_dr * b\nreturn [g, g + t * dL_dr]",
            "[t.name, r.name]",
        ),
    ),
    (
        "12",
        with_body(
            "12",
            TWO
            + (
                "if dL_dr is None:\n    return [dL_dt * t, None]\nthrough = dL_dr * b\n"
                "if dL_dt is not None:\n    through = through + dL_dt\n"
                "return [through * t, dL_dr * t]"
            ),
        ),
    ),
    (
        "12",
        with_body(
            "12",
            (
                "dL_dt, dL_dr = dL_doutputs\nif dL_dr is None:\n    return [dL_dt * t, None]\n"
                "return [add_optional(dL_dr * b, dL_dt) * t, t * dL_dr]"
            ),
            "[t.name, r.name]",
        ),
    ),
    (
        "13",
        GIVEN
        + ("L0 = (f(a, b) * f(a, b)).sum()\nda, db = grad(L0, [a, b])\nL1 = (da*da + db*db).sum()\ngrad(L1, [a, b])"),
    ),
    (
        "13",
        GIVEN + ("L0 = (f(a, b)).exp().sum()\nda, db = grad(L0, [a, b])\nL1 = (da*da + db*db).sum()\ngrad(L1, [a, b])"),
    ),
    (
        "14",
        with_body(
            "14",
            TWO
            + (
                "if dL_dr is not None and dL_dt is not None:\n    g = dL_dr * b + dL_dt\n"
                "    return [g, g + dL_dr * t]\nelif dL_dr is not None:\n    g = dL_dr * b\n"
                "    return [g, g + dL_dr * t]\nelse:\n    return [dL_dt, dL_dt]"
            ),
        ),
    ),
    ("15", "(a + b + a).sigmoid()"),
    ("15", "a * b - b * a + b"),
    ("16a", mended("ctx.e = e", "ctx.save_for_backward(x)", f"{X}return dL_dy * torch.sigmoid(x)")),
    ("16a", MODEL.replace("(e,) = ctx.saved_tensors", "e = ctx.saved_tensors[0]")),
    ("16a", MODEL.replace("dL_dy * e / (1 + e) + dL_de * e", "e * (dL_dy / (1 + e) + dL_de)")),
    ("16b", CHANGED + "old = x * x\nz = old.exp()\nL0 = (old * x * z).sum()\ndx, = grad(L0, [x])"),
]


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in WRONG))
def test_a_mistake_is_told_for_what_it_is(name):
    replies = [(meant, judge(name, text)) for other, meant, text in WRONG if other == name]
    assert not any(reply.solved for _, reply in replies)
    assert [reply.name for _, reply in replies] == [meant for meant, _ in replies]
    assert not any("{" in reply.sentence for _, reply in replies), "a fact was not filled in"


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in RIGHT))
def test_right_answers_in_unusual_words_are_accepted(name):
    refused = [
        (text, reply.sentence) for other, text in RIGHT if other == name and not (reply := judge(name, text)).solved
    ]
    assert not refused


def test_an_answer_that_was_not_computed_by_grad_is_not_accepted():
    hard_coded = ROW + "row, = grad(y, [x])\nrow = tensor([2.0, 8.0, 2.0])"
    assert not judge("5", hard_coded).solved
    assert not judge("7", MIXED + "dbb, = grad(da.sum(), [b])\nmixed = tensor([6.0, 8.0])").solved
