"""The calls of a real step, judged: what is kept of them, what comes of them, and that the run is what it was."""

import json
import threading

import pytest
import torch
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

import simplegrad
from benchmarks._gpt import FAULTY, RIGHT, Gpt, step
from simplegrad import check_calls
from simplegrad.__main__ import main as command_line
from simplegrad.checks.commands.kept import MOST_OF_ONE
from simplegrad.checks.commands.part import parts, shrunk


class Cube(Function):
    """Right; its second argument is a power that it does not know what to do with."""

    @staticmethod
    def forward(ctx, x, power=3):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * x * x, None


class Doubled(Function):
    """Wrong: the square's gradient without its factor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x


class Smooth(Function):
    """Wrong from a size on: it is meant for rows of up to 100."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp().sum(-1)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g[..., None] * x.exp() * (1 if x.shape[-1] <= 100 else 0.5)


class WithCast(Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), x.t() @ g


def leaf(*shape):
    return torch.rand(*shape).add(0.5).requires_grad_()


def names(report):
    return [each.name for each in report.results]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where bundles go by default
    torch.manual_seed(0)


def trained(steps=2):
    """A tiny model of nanoGPT's kind, some steps of it; with a check of the last one."""
    torch.manual_seed(0)
    model = Gpt(words=11, length=8, width=12, layers=2, heads=2)
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(0, 11, (2, 9))
    return model, [lambda: step(model, optimizer, tokens) for _ in range(steps)]


@pytest.fixture(scope="module")
def judged_step(tmp_path_factory):
    model, steps = trained()
    steps[0]()
    with check_calls(keep=tmp_path_factory.mktemp("kept")) as report:
        steps[1]()
    return model, report


def test_of_six_functions_two_are_faulty_and_come_first(judged_step):
    _, report = judged_step
    faulty = {each.name for each in report.results if each.report.faults}
    assert faulty == FAULTY and {*names(report)} == FAULTY | RIGHT
    assert {*names(report)[: len(faulty)]} <= FAULTY and not report.left_out
    assert all(each.report.ok for each in report.results if each.name in RIGHT)


def test_the_faulty_ones_have_their_lines(judged_step):
    _, report = judged_step
    lines = {each.name: each.report.faults[0].read_at.text for each in report.results if each.report.faults}
    assert "gx = scale" in lines["LayerNorm"]
    assert lines["Gelu"].startswith("slope = k * (1 + 0.0044715")


def test_the_run_is_the_same_to_the_last_bit(judged_step):
    model, _ = judged_step
    plain, steps = trained()
    for each in steps:
        each()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_random_numbers_go_on_as_if_nothing_had_been_checked():
    torch.manual_seed(5)
    with check_calls(keep=None):
        Cube.apply(leaf(3)).sum().backward()
    after = torch.rand(3)
    torch.manual_seed(5)
    leaf(3)
    assert torch.equal(after, torch.rand(3))


def test_a_faulty_call_is_kept_and_found_faulty_again(judged_step, capsys):
    _, report = judged_step
    first = report.results[0]
    path = report.bundles[id(first)]
    assert command_line(["check", f"{first.target.file}::{first.name}", "--inputs", str(path)]) == 1
    assert first.verdict in capsys.readouterr().out


def test_text_json_and_page_say_it(judged_step):
    _, report = judged_step
    assert "Gelu, LayerNorm with a fault" in str(report) or "LayerNorm, Gelu with a fault" in str(report)
    said = json.loads(json.dumps(report.as_json()))
    assert said["verdict"] == report.verdict and len(said["calls"]) == len(report.results)
    page = report.to_html(include_plotlyjs=False)
    assert page.startswith("<!") or "<html" in page


def test_calls_that_are_alike_are_judged_once_and_counted():
    x = leaf(3)
    with check_calls(keep=None) as report:
        assert report.is_open and not report.ok
        for _ in range(4):
            Cube.apply(x)
        Cube.apply(x, 4)
        Cube.apply(leaf(2, 3))
    assert names(report) == ["Cube"] * 3 and report.ok
    assert "(4 calls" in str(report)


def test_what_changes_the_arguments_later_changes_no_copy():
    x = leaf(3)
    with check_calls(keep=None) as report:
        Cube.apply(x).sum().backward()
        with torch.no_grad():
            x.fill_(float("nan"))
    assert report.ok


def test_without_gradients_nothing_is_kept():
    with check_calls(keep=None) as report, torch.no_grad():
        Doubled.apply(leaf(3))
    assert not report.results and report.verdict == "unverified" and "no call" in str(report)


def test_in_a_thread_of_its_own_and_beside_another():
    found = {}

    def run(fn):
        with check_calls(keep=None) as report:
            fn.apply(leaf(3)).sum().backward()
        found[fn] = report

    threads = [threading.Thread(target=run, args=(fn,)) for fn in (Cube, Doubled)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert names(found[Cube]) == ["Cube"] and found[Cube].ok
    assert names(found[Doubled]) == ["Doubled"] and found[Doubled].faults


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_checkpoint(reentrant):
    with check_calls(keep=None) as report:
        checkpoint(lambda x: Doubled.apply(x), leaf(3), use_reentrant=reentrant).sum().backward()
    assert names(report) == ["Doubled"] and report.faults


def test_under_autocast():
    x, w = leaf(4, 3), leaf(3, 2)
    with check_calls(keep=None) as report:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = WithCast.apply(x, w)
        out.float().sum().backward()
    assert report.ok, str(report)


def test_many_arguments_are_judged_in_part_and_held_against_all_of_them():
    with check_calls(keep=None) as report:
        Cube.apply(leaf(64, 300))
        Doubled.apply(leaf(64, 300))
    faulty, right = report.results
    assert (faulty.name, right.name) == ("Doubled", "Cube") and right.verdict == "correct"
    assert "at a part of the arguments" in right.report.truth
    assert all(x.numel() < 2000 for each in report.results for x in each.inputs if isinstance(x, torch.Tensor))


def test_what_is_wrong_at_that_size_alone_is_found():
    with check_calls(keep=None) as report:
        Smooth.apply(leaf(16, 400))
    assert report.faults


def test_limits_are_told():
    with check_calls(keep=None, limit=2) as report:
        for n in range(1, 5):
            Cube.apply(leaf(n))
    assert len(report.results) == 2 and not report.ok
    assert (report.left_out[0].count, "limit of 2" in report.left_out[0].why) == (2, True)
    with check_calls(keep=None, megabytes=1) as report:
        Cube.apply(leaf(1 << 19))
    assert "1 MB" in report.left_out[0].why
    with check_calls(keep=None) as report:
        for n in range(MOST_OF_ONE + 3):
            Cube.apply(leaf(1), n)
        Doubled.apply(leaf(1))
    assert report.results[0].name == "Doubled" and report.left_out[0].count == 3


def test_transforms_are_told_as_not_judged():
    with check_calls(keep=None) as report:
        torch.func.grad(lambda x: Transformed.apply(x).sum())(torch.rand(3))
    assert not report.results and "torch.func" in report.left_out[0].why


class Transformed(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * x


def test_an_operator_is_judged_by_its_own_name():
    @torch.library.custom_op("real_calls::triple", mutates_args=())
    def triple(x: torch.Tensor) -> torch.Tensor:
        return 3 * x

    triple.register_autograd(lambda ctx, g: 2 * g, setup_context=lambda ctx, inputs, output: None)
    with check_calls(keep=None) as report:
        triple(leaf(3)).sum().backward()
    assert names(report) == ["real_calls::triple"] and report.results[0].report.faults


def test_an_exception_goes_on_after_the_judgement():
    class Raising(Cube):
        @staticmethod
        def backward(ctx, g):
            return ctx.nothing * g

    with pytest.raises(AttributeError), check_calls(keep=None) as report:
        Raising.apply(leaf(3)).sum().backward()
    assert report.results[0].verdict == "raises"


def test_the_callers_gradients_and_torchs_names_are_as_they_were():
    apply, x = vars(Function).get("apply"), leaf(3)
    with check_calls(keep=None):
        Doubled.apply(x).sum().backward()
    assert torch.equal(x.grad, x.detach()) and vars(Function).get("apply") is apply


def test_arguments_that_are_no_numbers_are_refused():
    for wrong in ({"order": 0}, {"limit": True}, {"megabytes": 0.5}):
        with pytest.raises(ValueError, match="expected a whole number"), check_calls(**wrong):
            pass


def test_small_sizes_keep_what_the_large_ones_had():
    new = shrunk({384, 1152, 128, 65}, {4, 6})
    assert new[384] % 6 == 0 and new[1152] == 3 * new[384] and new[128] % 4 == 0
    assert len(set(new.values())) == len(new)


def test_an_index_stays_one():
    logits, targets = torch.rand(512, 65), torch.randint(0, 65, (512,))
    for cut_logits, cut_targets in parts([logits, targets]):
        assert len(cut_logits) == len(cut_targets) and int(cut_targets.max()) < cut_logits.shape[1]


def test_the_name_is_public():
    assert simplegrad.check_calls is check_calls
