"""The course: its steps exist, its solutions are accepted in whatever way they are written, and each wrong answer gets
the reply that is meant for it."""

import pytest

from simplegrad.lessons import beside, course, exercise, judge, step_of, traces_of
from simplegrad.lessons.recordings import RECORDED, recorded
from simplegrad.view.deltas import payload

LESSONS = {lesson.number: lesson for lesson in course()}
EXERCISES = {each.id: each for lesson in course() for each in lesson.exercises}


def test_every_chapter_is_a_lesson():
    assert list(LESSONS) == list(range(1, 17))
    assert len(EXERCISES) == 18


@pytest.mark.parametrize("number", LESSONS)
def test_the_steps_of_a_lesson_are_there(number):
    lesson = LESSONS[number]
    for scene in lesson.scenes:
        trace, *others = traces_of(lesson, scene)
        raises = scene.aggregate == "simple_type_error" or scene.record == "wrong_version"
        assert (trace.error is not None) == raises
        steps = [step_of(trace, each) for each in (scene.begin, *(remark.at for remark in scene.remarks))]
        assert None not in steps and steps[1:] == sorted(steps[1:])
        assert len(others) == (scene.record != "" and scene.program != "")
    first, *_ = traces_of(lesson, lesson.scenes[0])
    begin, asked = step_of(first, lesson.scenes[0].begin), step_of(first, lesson.prediction.before)
    assert begin is not None and asked is not None
    assert begin < asked, "the step that answers is not to be seen before the question"
    assert 2 <= len(lesson.text) <= 4


# --- runs of PyTorch -------------------------------------------------------------------------------------------------


def test_the_lessons_on_pytorch_are_recorded_from_pytorch():
    shown = {scene.record for number in (15, 16) for scene in LESSONS[number].scenes if scene.record}
    assert shown == set(RECORDED)
    assert all(recorded(name).kind == "torch" for name in shown)


def results_of(trace) -> list[list[float]]:
    ended = [event for event in trace.events if event.kind == "PassEnded"]
    return [[x.tensor.tolist() for x in event.results] for event in ended]


@pytest.mark.parametrize("number, place", [(15, 1), (16, 0)])
def test_tape_and_pytorch_beside_each_other_go_through_the_same_gradients(number, place):
    tape, torchs = traces_of(LESSONS[number], LESSONS[number].scenes[place])
    for ours, theirs in zip(results_of(tape), results_of(torchs), strict=True):
        assert [x for each in ours for x in each] == pytest.approx([x for each in theirs for x in each], rel=1e-5)
    rows = beside(tape, torchs)
    assert rows[0] == (0, 0) and rows[-1] == (len(tape) - 1, len(torchs) - 1)
    assert all(a <= c and b <= d and (a, b) != (c, d) for (a, b), (c, d) in zip(rows, rows[1:]))
    together = [(a, b) for (a, b), before in zip(rows, [(-1, -1), *rows]) if a != before[0] and b != before[1]]
    kinds = {(tape.events[a].kind, torchs.events[b].kind) for a, b in together}
    assert all(ours == theirs for ours, theirs in kinds) and len(together) > len(torchs) * 0.8


def test_a_version_that_does_not_fit_is_the_last_event_of_its_run():
    error = recorded("wrong_version").error
    assert error.error == "RuntimeError" and "is at version 1; expected version 0" in error.message


def test_a_view_of_a_base_that_was_changed_has_another_node():
    entries = recorded("view_of_a_changed_base").entries
    (of_row,) = [entry for entry in entries if entry.outputs[0].name == "row"]
    assert of_row.operator == "AsStrided" and of_row.inputs[0].name == "base"


def test_a_function_before_and_after_its_cure():
    before, after = (payload(recorded(name))["sentences"][-1] for name in ("sinh_before", "sinh_after"))
    assert "dL1/dx = None: autograd sees no way from L1 to x" in before
    assert "[0.5211, -1.1752, 3.6269]" in after


def test_a_node_that_is_given_nothing_runs_all_the_same():
    told = payload(recorded("undefined_gradient"))["sentences"]
    assert any("Asks(x), ran all the same" in each for each in told) and not any("skipped" in each for each in told)


@pytest.mark.parametrize("number", LESSONS)
def test_one_answer_of_a_prediction_is_right(number):
    answers = LESSONS[number].prediction.answers
    assert [each.right for each in answers].count(True) == 1
    assert all(each.text and each.reply for each in answers)


def test_the_right_answer_does_not_always_stand_at_the_same_place():
    places = [[each.right for each in lesson.prediction.answers].index(True) for lesson in course()]
    assert len(set(places)) == 4


@pytest.mark.parametrize("name", EXERCISES)
def test_the_model_solution_is_accepted_and_the_start_is_not(name):
    reply = judge(name, EXERCISES[name].model)
    assert reply.solved, reply.sentence
    assert not judge(name, EXERCISES[name].start).solved


def test_an_exercise_that_there_is_not():
    with pytest.raises(KeyError, match="There are: 1, 2, 3"):
        judge("17", "")


# --- answers ---------------------------------------------------------------------------------------------------------


def with_body(name: str, body: str, outputs: str = "") -> str:
    """The starting text of a propagate, with other lines in it. A body may begin with lines of forward: FORWARD ---."""
    start = exercise(name).start
    head, rest = start.split("    def propagate", 1)
    tail = rest[rest.index("    gradient_tape.append") :]
    if "---" in body:
        before, body = body.split("---")
        first = head.splitlines()[1] if head.startswith("\n") else head.splitlines()[0]
        head = first + "\n" + indented(before, 4) + "\n"
    if outputs:
        tail = tail.replace(tail[tail.index("outputs=") : tail.index(", propagate")], f"outputs={outputs}")
    return f"{head}    def propagate(dL_doutputs):\n{indented(body, 8)}\n\n{tail}"


def indented(lines: str, by: int) -> str:
    return "\n".join(" " * by + line for line in lines.strip("\n").splitlines() if line.strip())


def mended(old: str = "", new: str = "", back: str = "", two: bool = False) -> str:
    """The Function of exercise 16a with another line, another backward, and e as a second output."""
    text = exercise("16a").start.replace(old, new) if old else exercise("16a").start
    if two:
        text = text.replace("ctx.e = e", "ctx.save_for_backward(e)") if back else text
        text = text.replace("torch.log(1 + e)", "torch.log(1 + e), e")
        text = text.replace("(ctx, dL_dy)", "(ctx, dL_dy, dL_de)").replace("apply(x)", "apply(x)[0]")
    head, _, tail = text.partition("        return dL_dy * ctx.e / (1 + ctx.e)\n")
    return f"{head}{indented(back, 8)}\n{tail}" if back else text


SAVED = "(e,) = ctx.saved_tensors\n"
X = "(x,) = ctx.saved_tensors\n"
OF_RESULT = "return dL_dy * (1 - torch.exp(-ctx.y))"
ONE = "(dL_dr,) = dL_doutputs\n"
TWO = "dL_dr, dL_dt = dL_doutputs\n"
ZERO = "{0} = Variable.constant(torch.zeros(())) if {0} is None else {0}\n"
ZEROS = ZERO.format("dL_dr") + ZERO.format("dL_dt")
GIVEN = "a = tensor([0.3605, 0.9889, 0.8768, 0.5413])\nb = tensor([0.2517, 0.3470, 0.8960, 0.3315])\n"
AB = "a = tensor([1.0, 2.0])\nb = tensor([3.0, 4.0])\n"
ABC = AB + "c = tensor([5.0, 6.0])\n"
WANTED = "\nda, db, dc = grad(L0, [a, b, c])"
FIRST = GIVEN + "L0 = f(a, b).sum()\nda, db = grad(L0, [a, b])\n"
MIXED = AB + "L0 = ((a + b) * b * b).sum()\nda, db = grad(L0, [a, b])\n"
ROW = "x = tensor([1.0, 2.0, 3.0])\ny = x * x.sum()\n"
CHANGED = "x = tensor([0.5, 1.0])\n"

WRONG = [
    ("1", "alias", AB + "t = a * b\nu = t\nv = u + b"),
    ("1", "leaf_counts", AB + "c = ones(2)\nt = c * b\nu = t + b"),
    ("1", "line_is_entry", AB + "y = a * b + b * b + a"),
    ("1", "pass_is_free", AB + "t = a * b\nda, = grad(t, [a])"),
    ("1", "other_inputs", AB + "t = a + a\nu = t * b\nv = u * a"),
    ("2", "swapped", with_body("2", ONE + "return [a * dL_dr, b * dL_dr]")),
    ("2", "one_sum", with_body("2", ONE + "return [dL_dr * (a + b)]")),
    ("2", "raw_values", with_body("2", ONE + "return [dL_dr * b.value, dL_dr * a.value]")),
    (
        "2",
        "wrapped_again",
        with_body(
            "2", ONE + "g = dL_dr.value\nb_v, a_v = b.value, a.value\nreturn [Variable(g * b_v), Variable(g * a_v)]"
        ),
    ),
    ("2", "no_incoming", with_body("2", ONE + "return [b, a]")),
    ("2", "no_partial", with_body("2", ONE + "return [dL_dr, dL_dr]")),
    ("2", "same_twice", with_body("2", ONE + "return [dL_dr * b, dL_dr * b]")),
    ("3", "product_only", with_body("3", ONE + "g = dL_dr * a\nreturn [dL_dr * b, g]")),
    ("3", "last_use_wins", with_body("3", ONE + "return [dL_dr * b, dL_dr * 1.0]")),
    ("3", "multiplied", with_body("3", ONE + "return [dL_dr * b, (dL_dr * a) * dL_dr]")),
    ("3", "counted_again", with_body("3", ONE + "g = dL_dr * a + dL_dr\nreturn [dL_dr * b, g + g]")),
    ("3", "no_incoming", with_body("3", ONE + "return [dL_dr * b, a + 1.0]")),
    ("4", "unused", ABC + "L0 = (a * a).sum()" + WANTED),
    ("4", "times_zero", ABC + "L0 = (a + (b + c) * 0.0).sum()" + WANTED),
    ("4", "detached", ABC + "d = b.detach()\nL0 = (a * d).sum()" + WANTED),
    ("4", "zero_value", ABC + "z = a * 0.0\nL0 = (z * b).sum()" + WANTED),
    ("4", "uses_b", ABC + "L0 = (a + b).sum()" + WANTED),
    ("5", "sum_of_rows", ROW + "row, = grad(y, [x])"),
    ("5", "off_by_one", ROW + "row, = grad(y[2], [x])"),
    ("5", "passes", ROW + "row, = grad(y[0], [x])\nrow, = grad(y[1], [x])"),
    ("6", "not_summed", with_body("6", ONE + "return [dL_dr, dL_dr * -1.0]")),
    ("6", "mean", with_body("6", ONE + "return [dL_dr, (-dL_dr).mean()]")),
    ("6", "expanded_again", with_body("6", ONE + "s = dL_dr.sum()\nreturn [dL_dr, (-s).expand(4)]")),
    ("6", "both_summed", with_body("6", ONE + "s = dL_dr.sum()\nreturn [s.expand(4), -s]")),
    ("6", "sign", with_body("6", ONE + "return [dL_dr, dL_dr.sum()]")),
    ("7", "same_loss", MIXED + "mixed, = grad(L0, [b])"),
    ("7", "db_by_b", MIXED + "mixed, = grad(db, [b])"),
    ("7", "norm", MIXED + "L1 = (da * da).sum()\nmixed, = grad(L1, [b])"),
    ("7", "one_pass", AB + "L0 = ((a + b) * b * b).sum()\nda, mixed = grad(L0, [a, b])"),
    ("8", "raw_factor", with_body("8", ONE + "k = -1.0 / x.value\nreturn [dL_dr * k]")),
    ("8", "factor_made_in_propagate", with_body("8", ONE + "r2 = Variable(r.value * r.value)\nreturn [-(dL_dr * r2)]")),
    ("8", "detached", with_body("8", ONE + "return [-(dL_dr * r.detach() * r)]")),
    ("8", "sign", with_body("8", ONE + "return [dL_dr / (x * x)]")),
    ("8", "no_square", with_body("8", ONE + "return [-dL_dr * r]")),
    (
        "9a",
        "wrapped_in_forward",
        with_body(
            "9a",
            "s = Variable(a.value + b.value)\nr = Variable(s.value * b.value)\n---"
            + ONE
            + "g = dL_dr * b\nreturn [g, g + dL_dr * s]",
        ),
    ),
    ("9a", "all_raw", with_body("9a", ONE + "g = dL_dr * b\nw = Variable(dL_dr.value * t)\nreturn [g, g + w]")),
    ("9a", "forgot_b_in_t", with_body("9a", ONE + "return [dL_dr * b, dL_dr * (b + a)]")),
    ("9a", "recomputed_wrongly", with_body("9a", ONE + "g = dL_dr * b\nreturn [g, g + dL_dr * (a - b)]")),
    ("9b", "again", with_body("9b", ONE + "s = torch.sigmoid(x)\nreturn [dL_dr * (s - s * s)]")),
    (
        "9b",
        "second_copy",
        with_body(
            "9b",
            "s = Variable(torch.sigmoid(x.value))\nr = Variable(s.value)\n---" + ONE + "return [dL_dr * s * (1.0 - s)]",
        ),
    ),
    ("9b", "half_rule", with_body("9b", ONE + "return [r * dL_dr]")),
    ("9b", "input_for_result", with_body("9b", ONE + "return [dL_dr * (x - x * x)]")),
    ("10", "through_t", FIRST + "grad((db - da).sum(), [a, b])"),
    ("10", "not_of_gradients", FIRST + "grad((a * a * b).sum(), [a, b])"),
    ("10", "zero", FIRST + "grad((da - da).sum() + (db * 0.0).sum(), [a, b])"),
    (
        "11",
        "declared_not_used",
        with_body("11", TWO + ZERO.format("dL_dr") + "g = dL_dr * b\nreturn [g, g + dL_dr * t]", "[r.name, t.name]"),
    ),
    ("11", "no_none", with_body("11", TWO + "g = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]", "[r.name, t.name]")),
    (
        "11",
        "only_t_checked",
        with_body(
            "11", TWO + ZERO.format("dL_dt") + "g = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]", "[r.name, t.name]"
        ),
    ),
    (
        "11",
        "added_twice",
        with_body("11", TWO + ZEROS + "g = dL_dt + dL_dr * b\nreturn [g + dL_dt, g + dL_dr * t]", "[r.name, t.name]"),
    ),
    (
        "11",
        "order_of_outputs",
        with_body("11", TWO + ZEROS + "g = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]", "[t.name, r.name]"),
    ),
    (
        "12",
        "truth_of_gradient",
        with_body("12", TWO + "if dL_dt:\n    return [dL_dt * t, None]\nreturn [dL_dr * b * t, dL_dr * t]"),
    ),
    (
        "12",
        "no_outer_derivative",
        with_body(
            "12",
            TWO + "if dL_dr is None:\n    return [dL_dt, None]\nreturn [add_optional(dL_dt, dL_dr * b), dL_dr * t]",
        ),
    ),
    ("12", "zeros", with_body("12", TWO + ZEROS + "return [(dL_dt + dL_dr * b) * t, dL_dr * t]")),
    ("12", "none_for_r", with_body("12", TWO + "return [add_optional(dL_dt, dL_dr * b) * t, dL_dr * t]")),
    ("13", "plus", GIVEN + "L0 = (f(a, b)-b).sum()\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])"),
    (
        "13",
        "called_twice",
        GIVEN + "L0 = (f(a, b) + f(b, a)).sum()\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])",
    ),
    (
        "13",
        "input_changed",
        GIVEN + "L0 = f(a * b, b).sum()\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])",
    ),
    (
        "14",
        "second_forgotten",
        with_body(
            "14",
            TWO + "if dL_dt is None:\n    g = dL_dr * b\nelse:\n    g = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]",
        ),
    ),
    ("14", "zeros_at_the_top", with_body("14", TWO + ZEROS + "g = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]")),
    (
        "14",
        "returns_t_for_r",
        with_body(
            "14",
            TWO + "if dL_dr is None:\n    return [dL_dt, None]\n"
            "if dL_dt is None:\n    g = dL_dr * b\n    return [g, dL_dr * t + g]\n"
            "g = dL_dt + dL_dr * b\nreturn [g, dL_dr * t + g]",
        ),
    ),
    (
        "14",
        "body_copied_badly",
        with_body(
            "14",
            TWO + "if dL_dr is None:\n    return [dL_dt, dL_dt]\n"
            "g = dL_dr * b\nif dL_dt is None:\n    return [g, dL_dr * t + g]\nreturn [dL_dt + g, dL_dr * t + g]",
        ),
    ),
    ("15", "factor", "(a - b) * a + b"),
    ("15", "own_result", "a.sigmoid() + b + a"),
    ("15", "own_result", "exp(a) - b - a"),
    ("15", "division", "a / b - a - b"),
    ("15", "too_few", "a - b"),
    ("16a", "not_returned", mended("ctx.e = e", "ctx.save_for_backward(e)", f"{SAVED}return e * dL_dy / (1 + e)")),
    ("16a", "returned_not_used", mended(back=f"{SAVED}return dL_dy * e / (1 + e)", two=True)),
    ("16a", "non_differentiable", mended("ctx.e = e", "ctx.mark_non_differentiable(e)\n        ctx.e = e", two=True)),
    ("16a", "no_grad_backward", mended(back="with torch.no_grad():\n    return dL_dy * ctx.e / (1 + ctx.e)")),
    ("16a", "once", mended("method\n    def backward", "method\n    @once_differentiable\n    def backward")),
    ("16a", "detached", mended("ctx.e = e", "ctx.e = e.detach()")),
    ("16a", "one_gradient", exercise("16a").model.replace(", dL_de):", "):").replace(" + dL_de * e", "")),
    ("16a", "two_returned", exercise("16a").model.replace(" + dL_de * e", ", dL_de * e")),
    ("16a", "e_for_the_caller", exercise("16a").model.replace("apply(x)[0]", "apply(x)")),
    ("16a", "again", mended("ctx.e = e", "ctx.save_for_backward(x)", f"{X}e = x.exp()\nreturn dL_dy * e / (1 + e)")),
    ("16a", "no_chain", mended(back="return dL_dy / (1 + ctx.e)")),
    ("16a", "no_incoming", mended(back="return ctx.e / (1 + ctx.e)")),
    ("16a", "not_started", mended(back="return None")),
    ("16a", "no_function", "def log1pexp(x):\n    return torch.log(1 + x.exp())"),
    (
        "16b",
        "after_reads_old",
        CHANGED + "y = x * x\nz = y.exp()\nnew = y * x\nL0 = (y * z).sum()\ndx, = grad(L0, [x])",
    ),
    ("16b", "gradient_not_asked_for", CHANGED + "y = x * x\nz = y.exp()\nnew = y * x\nL0 = (new * z).sum()"),
    ("16b", "old_cut", CHANGED + "y = x * x\nz = y.exp()\ny = x * y.detach()\nL0 = (y * z).sum()\ndx, = grad(L0, [x])"),
    (
        "16b",
        "factor_forgotten",
        CHANGED + "y = x * x\nz = y.exp()\nL0 = (z * y * x.detach()).sum()\ndx, = grad(L0, [x])",
    ),
]

RIGHT = [
    ("1", AB + "y = (a + b) * b + a"),
    ("1", AB + "y = b.exp()\ny = y * a\ny = b - y"),
    ("2", with_body("2", ONE + "g = dL_dr\nda = b * g\ndb = a * g\nreturn [da, db]")),
    ("2", with_body("2", ONE + "return (torch.mul(dL_dr, b), dL_dr.mul(a))")),
    ("3", with_body("3", ONE + "return [dL_dr * b, dL_dr * (a + 1.0)]")),
    ("3", with_body("3", ONE + "return [b * dL_dr, add_optional(dL_dr * a, dL_dr)]")),
    ("4", ABC + "L0 = (a * a + b - b).sum()" + WANTED),
    ("4", ABC + "L0 = (a + where(b > 100.0, b, 0.0)).sum()" + WANTED),
    ("5", ROW + "row, = grad(y[1], [x])"),
    ("5", ROW + "L = (y * eye(3)[1]).sum()\nrow, = grad(L, [x])"),
    ("6", with_body("6", ONE + "return [dL_dr, (dL_dr * -1.0).sum()]")),
    ("6", with_body("6", ONE + "return [dL_dr * 1.0, -sum(dL_dr, dim=0)]")),
    ("7", MIXED + "mixed, = grad(da, [b])"),
    ("7", MIXED + "L1 = db.sum()\nmixed, dbb = grad(L1, [a, b])"),
    ("8", with_body("8", ONE + "return [dL_dr * -1.0 / x ** 2]")),
    ("9a", with_body("9a", ONE + "g = dL_dr * b\nreturn [g, g + (a + b) * dL_dr]")),
    ("9a", with_body("9a", ONE + "return [dL_dr * b, dL_dr * (a + b * 2.0)]")),
    ("9b", with_body("9b", ONE + "return [dL_dr * (r - r * r)]")),
    ("10", FIRST + "grad(da.sum() * 2.0 + (da * b).sum(), [a, b])"),
    (
        "11",
        with_body(
            "11",
            TWO + "if dL_dr is None:\n    return [dL_dt, dL_dt]\ng = add_optional(dL_dt, dL_dr * b)\n"
            "return [g, g + dL_dr * t]",
            "[r.name, t.name]",
        ),
    ),
    (
        "12",
        with_body(
            "12",
            TWO + "if dL_dr is None:\n    return [dL_dt * t, None]\n"
            "return [add_optional(dL_dt, dL_dr * b) * t, dL_dr * t]",
        ),
    ),
    ("13", GIVEN + "L0 = (f(a, b)**2).sum()\nda, db = grad(L0, [a, b])\ngrad((da*da + db*db).sum(), [a, b])"),
    ("13", FIRST + "grad((da*da + db*db).sum() + L0, [a, b])"),
    (
        "14",
        with_body(
            "14",
            TWO + "if dL_dr is None:\n    return [dL_dt, dL_dt]\nif dL_dt is None:\n    g = dL_dr * b\n"
            "    return [g, g + dL_dr * t]\ng = dL_dt + dL_dr * b\nreturn [g, g + dL_dr * t]",
        ),
    ),
    ("15", "a + b - a + b"),
    ("15", "((a - b) - a).tanh()"),
    ("16a", mended("return torch.log(1 + e)", "y = torch.log(1 + e)\n        ctx.y = y\n        return y", OF_RESULT)),
    ("16a", mended(back=f"{SAVED}first = dL_dy / (e + 1.0)\nreturn (first + dL_de) * e", two=True)),
    ("16a", mended("ctx.e = e", "ctx.save_for_backward(x)", f"{X}return torch.sigmoid(x) * dL_dy")),
    ("16b", CHANGED + "y = x * x\nz = y.exp()\ny = x * y\nL0 = (z * y).sum()\ndx, = grad(L0, [x])"),
]


@pytest.mark.parametrize(
    "name, known, text", WRONG, ids=[f"{name}-{known}-{i}" for i, (name, known, _) in enumerate(WRONG)]
)
def test_a_wrong_answer_gets_its_own_reply(name, known, text):
    reply = judge(name, text)
    assert not reply.solved
    assert reply.name == known, reply.sentence
    assert "{" not in reply.sentence, "a fact was not filled in"


@pytest.mark.parametrize("name, text", RIGHT, ids=[f"{name}-{i}" for i, (name, _) in enumerate(RIGHT)])
def test_a_right_answer_is_accepted_however_it_is_written(name, text):
    reply = judge(name, text)
    assert reply.solved, (reply.name, reply.sentence)


def test_every_known_reply_says_something_of_its_own():
    for each in EXERCISES.values():
        names = [known.name for known in each.known]
        assert len(set(names)) == len(names), each.id
        assert len({known.say for known in each.known}) == len(names), each.id


def test_a_reply_has_the_line_and_a_step_that_shows_it():
    reply = judge("9a", exercise("9a").start)
    assert reply.place == "return [dL_dt, dL_dt + dL_dr * t]"
    assert exercise("9a").start.splitlines()[reply.line - 1].strip() == reply.place
    assert reply.trace.events[reply.step] is not None


@pytest.mark.parametrize(
    "text, said",
    [
        ("def times(a, b)", "Line 1: "),
        ("x = 1", "Define the function times"),
        ("def times(a, b):\n    for i in range(10 ** 9):\n        pass", "could not be checked"),
        ("def times(a, b):\n    return times(a, b)", ""),
        ("def times(a, b):\n    return a", ""),
        ("def times(a):\n    return a", ""),
        ("def times(a, b):\n    return 3", ""),
        ("times = 3", "Define the function times"),
        ("x = rand(2)\nx[3]\ndef times(a, b):\n    return a * b", "x[3]"),
        ("import os", "nothing is imported"),
    ],
)
def test_whatever_an_answer_is_there_is_a_reply(text, said):
    reply = judge("2", text)
    assert not reply.solved and said in reply.sentence and reply.sentence
