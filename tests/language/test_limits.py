"""A run past a limit ends with a LimitReached event, and what it has so far can be used."""

from dataclasses import replace

import pytest

from simplegrad import Program
from simplegrad.language import DEFAULT_LIMITS, EXAMPLES, Limits, limits, sizes
from simplegrad.trace import recorder
from simplegrad.trace.events import LimitReached

PATIENT = replace(DEFAULT_LIMITS, seconds=600)  # of a busy machine too
TEN = "a = rand(4)\n" + "a = a * 2\n" * 10


def cut(text: str, limits: Limits = DEFAULT_LIMITS, **keywords):
    trace = Program.parse(text).run(limits=limits, **keywords)
    assert isinstance(trace.error, LimitReached)
    assert trace.at(len(trace)).event == trace.error
    return trace


@pytest.mark.parametrize(
    "limits, what, entries",
    [
        (Limits(statements=4), "statements", 3),
        (Limits(entries=6), "entries", 6),
        (Limits(total=20), "total", 4),
        (Limits(elements=3), "elements", 0),
        (Limits(seconds=-1), "seconds", 0),
    ],
)
def test_a_run_is_cut_off_where_it_passes_a_limit(limits, what, entries):
    trace = cut(TEN, limits)
    assert trace.error.what == what
    assert trace.error.limit == getattr(limits, what)
    assert len(trace.entries) == entries
    assert trace.error.line == (1 if entries == 0 else entries + 2)
    assert trace.transcript().count("*") == entries


def test_a_run_that_keeps_exactly_to_its_limits_goes_through():
    trace = Program.parse(TEN).run(limits=Limits(statements=11, entries=10, total=44, elements=4))
    assert trace.error is None


def test_entries_of_a_pass_count_too():
    trace = cut("a = rand(2)\nL = (a * a).sum()\ngrad(L, [a])", Limits(entries=3))
    assert trace.pass_count == 1 and len(trace.entries) == 3
    assert trace.at(len(trace)).pass_.title == "pass of L"


BIG = "a = rand(100000)\n"


@pytest.mark.parametrize(
    "text",
    [
        "a = rand(100001)",
        "a = zeros(10 ** 9, 10 ** 9)",
        "a = arange(10 ** 15)",
        "a = arange(0, 1, 0.0000000001)",
        "a = linspace(0, 1, 10 ** 12)",
        "a = eye(10 ** 6)",
        "a = full((10 ** 6, 10 ** 6), 1)",
        BIG + "a.reshape(-1, 1) * a",
        BIG + "a.reshape(-1, 1) > a",
        BIG + "(a.reshape(-1, 1) > 0) & (a > 0)",
        BIG + "where(a > 0, a.reshape(-1, 1), 0.0)",
        BIG + "maximum(a.reshape(-1, 1), a)",
        BIG + "f(a.reshape(-1, 1), a)",
        BIG + "a.reshape(-1, 1) @ a.reshape(1, -1)",
        BIG + "a.reshape(-1, 1).matmul(a.reshape(1, -1))",
        BIG + "torch.mul(a.reshape(-1, 1), a)",
        BIG + "cat([a, a])",
        BIG + "torch.concat([a, a])",
        BIG + "stack(tensors=[a, a])",
        BIG + "a.reshape(-1, 1).expand(-1, 10 ** 9)",
        BIG + "a.reshape(1, -1)[[0, 0]]",
        BIG + "a.reshape(2, -1)[tensor([0, 0, 1])]",
        BIG + "a.reshape(-1, 1)[arange(100000), :][:, [0, 0]]",
    ],
)
def test_nothing_too_large_is_ever_made(text):
    """Each of these would take gigabytes, or fail, if it were tried."""
    assert cut(text).error.what == "elements"


@pytest.mark.parametrize(
    "last",
    ["tensor(a)", "x[a]", "x[:, a]", "x.sum(name=a)", "grad(x, [x], none=a)", "x.reshape(a)", "zeros(a)", "full(a, a)"]
    + ["x.sum(dim=a)", "rand(2, seed=a)", "f(a, x)", "stack(a)", "a + 1", "a > x", "x.transpose(a, 0)", "arange(a)"]
    + ["x.softmax(dim=a)", "where(x > 0, a, x)", "x.unsqueeze(a)", "x.expand(a)", "x.permute(a)", "x.size(a)", "a.T"]
    + ["x.sum_to_size(a)", "add_optional(a, x)", "x ** a", "-a", "~a", "a[a]", "b, c, d = a"],
)
def test_a_list_that_holds_itself_twice_many_times_over_is_not_walked(last):
    """Two to the power of 60 elements, if anything went through all of them, or wrote them into a message."""
    trace = Program.parse("x = rand(2, 2)\na = [1]\n" + "a = [a, a]\n" * 60 + last).run()
    assert trace.error is not None
    assert len(trace.error.message) < 500


def test_a_seconds_limit_holds_inside_a_pass(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(limits.time, "monotonic", lambda: next(clock))
    trace = cut("a = rand(2)\nL = a.tanh().tanh().tanh().sum()\ngrad(L, [a])", Limits(seconds=9))
    assert trace.error.what == "seconds"
    assert trace.pass_count == 1


def test_the_examples_keep_far_from_the_limits():
    for example in EXAMPLES.values():
        trace = example.program.run()
        assert len(trace.entries) * 10 < DEFAULT_LIMITS.entries
        assert len(example.program.statements) * 4 < DEFAULT_LIMITS.statements


def test_many_passes_end_at_the_limit_of_events():
    """998 passes made 1.4 million events, in a minute and two gigabytes, after the time was over."""
    patient = replace(DEFAULT_LIMITS, seconds=600)  # of a busy machine too, it is the events that end it
    trace = cut("a = rand(4)\nL = (a * a).sum()\n" + "grad(L, [a])\n" * 998, patient)
    assert trace.error.what == "events"
    assert DEFAULT_LIMITS.events * 0.9 < len(trace.events) < DEFAULT_LIMITS.events * 1.2


def test_events_are_made_within_the_time_of_the_run(monkeypatch):
    """The clock stands still but for the building of events, which takes a second each time."""
    clock, build = [0.0], recorder.Builder.build
    monkeypatch.setattr(limits.time, "monotonic", lambda: clock[0])

    def slow(self, trace):
        clock[0] += 1
        build(self, trace)

    monkeypatch.setattr(recorder.Builder, "build", slow)
    text = "a = rand(4)\nL = (a * a).sum()\n" + "grad(L, [a])\n" * 60
    assert cut(text, Limits(seconds=0.5)).error.what == "seconds"


def test_who_asked_for_a_run_may_end_it():
    class Gone(BaseException):
        pass

    def gone():
        raise Gone

    with pytest.raises(Gone):
        Program.parse(TEN).run(asked=gone)
    asked = []
    assert Program.parse(TEN).run(asked=lambda: asked.append(1)).error is None
    assert asked


@pytest.mark.parametrize(
    "text, what",
    [
        ("for i in range(10 ** 9):\n    pass", "statements"),
        ("for i in range(200):\n    for j in range(200):\n        x = i * j", "statements"),
        ("def g(x):\n    return g(x)\ng(1)", "depth"),
        ("def g(x):\n    return h(x)\ndef h(x):\n    return g(x)\ng(1)", "depth"),
        ("x = rand(1000)\nfor i in range(100):\n    x = cat([x, x])", "elements"),
        (
            "import torch\nx = torch.rand(1000)\nv = Variable(x)\nfor i in range(100):\n    x = torch.cat([x, x])",
            "elements",
        ),
        ("v = Variable(torch.rand(90000))\nt = v.value\nfor i in range(3000):\n    t = t + 1.0", "total"),
        ("v = Variable(torch.rand(90000))\nt = v.value.reshape(-1, 1) + v.value", "elements"),
        ("v = Variable(torch.rand(90000))\nt = v.value.reshape(-1, 1) @ v.value.reshape(1, -1)", "elements"),
        ("v = Variable(torch.rand(90000))\nt = v.value.reshape(-1, 1).expand(-1, 90000)", "elements"),
        ("v = Variable(torch.rand(90000))\nt = v.value.reshape(1, -1)[[0, 0]]", "elements"),
        ("v = Variable(torch.rand(90000))\nt = torch.zeros(10 ** 5, 10 ** 5)", "elements"),
    ],
)
def test_loops_calls_and_raw_tensors_are_limited_too(text, what):
    assert cut(text).error.what == what


def test_a_propagate_that_calls_grad_for_ever_is_cut_off():
    text = """
def again(x):
    r = Variable(x.value * 2.0)
    def propagate(dL_doutputs):
        grad(r, [x])
        return [dL_doutputs[0] * 2.0]
    gradient_tape.append(TapeEntry([x.name], [r.name], propagate))
    return r
x = Variable.constant(torch.rand(2))
grad(again(x), [x])
"""
    assert cut(text).error.what == "depth"


def test_what_is_printed_is_cut_and_the_run_goes_on():
    trace = Program.parse("for i in range(3000):\n    print(i)\nx = rand(2)").run()
    assert trace.error is None and "x" in trace.bindings
    assert len(trace.printed) == DEFAULT_LIMITS.lines + 1
    assert "more was printed" in trace.printed[-1][2]
    trace = Program.parse("x = rand(1000)\nfor i in range(900):\n    print(x, x, x)").run()
    assert sum(len(text) for _, _, text in trace.printed) < DEFAULT_LIMITS.characters + 200


def test_a_list_that_holds_itself_is_not_printed_for_ever():
    trace = Program.parse("a = [1]\n" + "a = [a, a]\n" * 60 + "print(a)").run()
    assert trace.error.what == "elements"


@pytest.mark.parametrize(
    "text",
    [
        'einsum("i,j->ij", x, x)',
        'einsum("i,j->ij", [x, x])',
        "pad(pad=(0, 10000000), input=x)",
        "x.unfold(0, 1000, 1)",
        "x.repeat_interleave(10**9)",
        "x.diag_embed(offset=20000)",
        "x.new_zeros(100000, 100000)",
        "x.repeat(100000)",
    ],
)
def test_what_makes_more_than_it_is_given_is_cut_off_before_it_does(text):
    assert cut(f"x = rand(2000)\ny = {text}").error.what == "elements"


@pytest.mark.parametrize("made", ["zeros(0)", "rand(100000)"])
def test_a_number_of_parts_is_cut_off_as_they_are_made(made):
    assert cut(f"x = {made}\ny = x.chunk(10**9)", PATIENT).error.what in ("entries", "operation")


WIDE = "x = rand(20000)\nc = x.reshape(-1, 1)\nr = x.reshape(1, -1)\np = rand(20000, 2)\ns = rand(3)\n"


@pytest.mark.parametrize(
    "text",
    [
        "mse_loss(c, r)",
        "soft_margin_loss(c, r)",
        "dist(c, r)",
        "cosine_similarity(c, r, dim=0)",
        'einsum("a,b,ac,bc->", x, x, p, p)',
        "svd(p, some=False)",
        "combinations(x)",
        "combinations(s, r=10 ** 9)",
        "combinations(x[:10], 10)",
        "combinations(x[:1], r=10 ** 5, with_replacement=True)",
        "mvlgamma(x + 10 ** 6, 10 ** 6)",
        "masked_select(c, r > -1)",
        "interpolate(s.reshape(1, 1, 3), scale_factor=1e9)",
        "local_response_norm(s.reshape(1, 1, 3), 10 ** 9)",
        "r[zeros(20000, 1), x.value > -1]",
        "dist(c.value, r.value)",
        "vander(x.value)",
        "masked_select(c.value, r > -1)",
    ],
)
def test_a_step_on_the_way_to_a_small_result_is_asked_too(text):
    """Each makes gigabytes within one step of torch, of which the result says nothing, or which torch asks late."""
    assert cut(f"{WIDE}y = {text}").error.what == "elements"


@pytest.mark.parametrize("call", ["t.max(dim=0)", "split_with_sizes_copy(t, [1])"])
def test_several_raw_results_count_as_one_does(call):
    """A list of them took five gigabytes within the seconds of a run."""
    text = f"t = Variable(torch.rand(1, 500)).value\nfor i in range(20):\n    y = {call}"
    assert cut(text, Limits(total=6_000)).error.what == "total"


@pytest.mark.parametrize("decimals", ["10 ** 9", "-10 ** 9", "0.5"])
def test_a_number_of_decimals_is_one_that_floats_have(decimals):
    """10 to the power of 10 ** 9 was computed, in whole numbers, for minutes."""
    assert "decimals" in Program.parse(f"x = rand(3)\ny = x.round(decimals={decimals})").run().error.message


@pytest.mark.parametrize("text", ["split(1)", "unbind(0)", "tensor_split(100)"])
def test_parts_are_no_more_than_the_tape_may_have_entries(text):
    """100,000 of them were named and shown for twice the seconds of a run."""
    assert cut(f"x = rand(100)\ny = x.{text}", Limits(entries=50)).error.what == "entries"


def test_polygamma_far_below_zero_is_cut_off_before_it_counts_up():
    """A round for each whole number up to zero, for each element, within one step: minutes."""
    assert cut("x = rand(10000)\ny = (x * 0 - 100000.5).polygamma(2)").error.what == "entries"
    assert Program.parse("x = rand(10)\ny = (x - 5.5).polygamma(2)").run().error is None


ORDINARY = """x, y, w = randn(16, 4), randn(16, 1), randn(4, 1)
for i in range(3):
    L = ((x @ w).tanh() - y).square().mean()
    dw, = grad(L, [w])
    w = w - 0.1 * dw
"""


def test_what_cannot_make_anything_large_is_not_looked_at(monkeypatch):
    """A look takes longer than an operation on a few elements: ordinary programs took two to four times as long."""
    looks = []
    monkeypatch.setattr(sizes.SizesFirst, "__enter__", lambda self: looks.append(self) or self)
    monkeypatch.setattr(sizes.SizesFirst, "__exit__", lambda self, *error: None)
    trace = Program.parse(ORDINARY).run()
    assert trace.error is None and trace.pass_count == 3
    assert not looks
    Program.parse("x = rand(4)\nx.repeat(3)\nx.repeat(300)").run()
    assert len(looks) == 1


def test_what_was_asked_once_is_known():
    program = Program.parse("x = rand(40, 40)\ny = layer_norm(x @ x.T, (40,))\ngrad(y.sum(), [x])")
    assert program.run().error is None
    asked = sizes.too_large.cache_info()
    assert program.run().error is None
    again = sizes.too_large.cache_info()
    assert again.misses == asked.misses and again.hits > asked.hits


@pytest.mark.parametrize(
    "text",
    ["interpolate(x.reshape(1, 1, 1, -1), scale_factor=9000.0)", "avg_pool2d(rand(1, 1, 300, 300), 300, 1, 150)"]
    + ["cdist(x, rand(90000, 1))", "where(x > 0, rand(400, 1), rand(1, 400))"],
)
def test_a_step_on_the_way_is_not_too_large_either(text):
    assert cut(f"x = rand(400).reshape(-1, 1)\ny = {text}").error.what == "elements"


@pytest.mark.parametrize(
    "call",
    [
        "x.chunk(9000)",
        "x.split(x)",
        "rms_norm(x, x)",
        "column_stack(x)",
        "x.broadcast_to(x)",
        "x.tensor_split(10 ** 9)",
    ],
)
def test_one_operation_does_not_append_entries_without_end(call):
    """A tensor where a list of numbers belongs was taken apart, element by element, until the time was over."""
    trace = cut(f"x = rand(9000)\ny = {call}", PATIENT)
    assert trace.error.what == "operation"


def test_a_pass_may_append_as_many_entries_as_there_are():
    text = "x = rand(2)\ny = x\nfor i in range(40):\n    y = ((y * x).sin() + x).cos() * x\nL = y.sum()\ngrad(L, [x])"
    trace = Program.parse(text).run(limits=replace(PATIENT, operation=300))
    assert trace.error is None and trace.pass_count == 1


def test_a_pass_with_a_propagate_of_the_program_is_no_long_operation():
    text = """def last(x):
    r = x.value * 2.0
    r = Variable(r)
    def propagate(dL_doutputs):
        dL_dr, = dL_doutputs
        dL_dx = dL_dr * 2.0
        return [dL_dx]
    gradient_tape.append(TapeEntry([x.name], [r.name], propagate))
    return r
a = tensor(1.0)
x = tensor(1.0)
for i in range(60):
    x = x * a
y = last(x * 2.0)
da = grad(y, [a])
"""
    assert Program.parse(text).run(limits=replace(PATIENT, operation=100)).error is None
