"""On a GPU: autograd runs its pass in threads of its own there, kernels end later than their calls, and numbers are
drawn by other generators. Everything is skipped where there is none."""

import threading

import pytest
import torch
from torch import nn
from torch.autograd import Function

from simplegrad import Tape, Variable, check, check_calls, compare, diagnose, grad, record, record_torch
from simplegrad.trace.events import PassBegun, PassEnded, Visited
from simplegrad.trace.store import Trace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
LEVELS = ("none", "norm", "full")


def of(trace, kind):
    return [event for event in trace.events if isinstance(event, kind)]


def network(device="cuda", seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)]
    return nn.Sequential(*layers).to(device), torch.randn(4, 3, 8, 8).to(device)


def step(model, x):
    loss = model(x).square().mean()
    loss.backward()
    return loss


def penalty(model, x):
    x = x.clone().requires_grad_()
    loss = model(x).square().mean()
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + g.square().sum()).backward()


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class WrongCube(Cube):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x**2 * g


class Inner(Function):
    """A pass within a pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(y.sin().sum(), y)
        return slope * g


class Dropped(Function):
    """Another mask in backward than in forward."""

    @staticmethod
    def forward(ctx, x):
        return x * (torch.rand_like(x) > 0.5)

    @staticmethod
    def backward(ctx, g):
        return g * (torch.rand_like(g) > 0.5)


class KeptMask(Function):
    @staticmethod
    def forward(ctx, x):
        mask = torch.rand_like(x) > 0.5
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class HalfOnly(Function):
    """Tensor cores: half precision in, half precision out."""

    @staticmethod
    def forward(ctx, x, w):
        assert x.dtype in (torch.float16, torch.bfloat16)
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), x.t() @ g


class WrongHalf(HalfOnly):
    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), 0.5 * (x.t() @ g)


def vector(*shape, dtype=torch.double):
    torch.manual_seed(1)
    return torch.randn(*(shape or (4,)), device="cuda", dtype=dtype).requires_grad_()


@pytest.mark.parametrize("run", [step, penalty])
@pytest.mark.parametrize("values", LEVELS)
def test_results_are_bit_equal_and_every_visit_belongs_to_its_pass(values, run):
    (plain, x), (recorded, _) = network(), network()
    torch.backends.cudnn.deterministic = True
    run(plain, x)
    with record_torch(recorded, values=values) as trace:
        run(recorded, x)
    for one, other in zip(plain.parameters(), recorded.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    begun, ended, visits = of(trace, PassBegun), of(trace, PassEnded), of(trace, Visited)
    assert len(begun) == len(ended) == (1 if run is step else 2)
    assert {visit.pass_id for visit in visits} == {event.pass_.id for event in begun}
    assert not [notice for notice in trace.notices if "could not" in notice], trace.notices


def test_a_run_on_the_gpu_reads_as_the_same_run_on_the_cpu():
    traces = []
    for device in ("cpu", "cuda"):
        model, x = network(device)
        with record_torch(model, values="norm") as trace:
            step(model, x)
        traces.append(trace)
    report = compare(*traces)
    assert report.agrees, str(report)  # although cuDNN's nodes have other names


def test_two_threads_that_share_the_engines_thread_are_told_apart():
    ready, traces, errors = threading.Barrier(2), {}, []

    def run(depth):
        try:
            x = torch.ones(1000, device="cuda", requires_grad=True)
            ready.wait()
            with record_torch() as trace:
                y = x
                for _ in range(depth):
                    y = Inner.apply(y)
                y.sum().backward()
            traces[depth] = trace
        except BaseException as error:
            errors.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=run, args=(depth,)) for depth in (20, 33)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not errors
        for depth, trace in traces.items():
            assert sum(entry.operator == "Inner" for entry in trace.entries) == depth
            assert len(of(trace, PassBegun)) == len(of(trace, PassEnded)) == depth + 1


def test_a_backward_of_a_thread_that_nobody_records_stays_outside():
    x = torch.ones(4, device="cuda", requires_grad=True)
    other = threading.Thread(target=lambda: (x * 2).sum().backward())
    with record_torch() as trace:
        other.start()
        other.join()
    assert not of(trace, PassBegun)
    assert x.grad is not None


@pytest.mark.parametrize(
    "cls, verdict",
    [
        (Cube, "correct"),
        (WrongCube, "wrong_partial"),
        (KeptMask, "correct"),
        (Dropped, "not_repeatable"),
    ],
)
def test_check_says_on_the_gpu_what_it_says_on_the_cpu(cls, verdict):
    x = vector(8)
    before = torch.cuda.get_rng_state()
    report = check(cls.apply, x)
    assert report.verdict == check(cls.apply, x.detach().cpu().requires_grad_()).verdict == verdict, str(report)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert x.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_the_gpu(dtype):
    inputs = vector(16, 64, dtype=dtype), vector(64, 8, dtype=dtype)
    assert check(HalfOnly.apply, *inputs).verdict == "correct"
    report = check(WrongHalf.apply, *inputs)
    assert report.verdict == "wrong_partial"
    assert "0.5" in str(report)


def test_a_finding_on_the_gpu_names_the_line():
    finding = check(WrongCube.apply, vector()).findings[0]
    assert finding.read_at.file == __file__
    assert finding.read_at.first == WrongCube.backward.__code__.co_firstlineno + 3


def test_why_and_diagnose_read_a_run_of_the_gpu(tmp_path):
    model, x = network()
    model[4].bias.requires_grad_(False)
    with record_torch(model, values="norm") as trace:
        loss = model(x).square().mean() * torch.tensor(0.0, device="cuda").log()
        loss.backward()
    assert trace.why("4.bias").state == "none"
    assert trace.why("4.weight").state == "nan" or trace.why("4.weight").state == "huge"
    assert diagnose(trace).findings
    trace.save(tmp_path / "gpu.trace")
    again = Trace.load(tmp_path / "gpu.trace")
    assert again.transcript() == trace.transcript()
    assert again.why("4.bias").sentence == trace.why("4.bias").sentence


def test_a_healthy_step_with_autocast_and_a_scaler_has_no_finding():
    model, x = network()
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
    with record_torch(model, values="norm") as trace:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.float16):
            loss = model(x).square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert not diagnose(trace).findings, str(diagnose(trace))


def test_recording_breaks_no_capture_of_a_graph():
    model, x = nn.Linear(4, 4).cuda(), torch.ones(2, 4, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            model(x).sum().backward()
    torch.cuda.current_stream().wait_stream(side)
    for values in LEVELS:
        captured = torch.cuda.CUDAGraph()
        model.zero_grad(set_to_none=True)
        with record_torch(model, values=values) as trace, torch.cuda.graph(captured):
            model(x).sum().backward()
        captured.replay()
        torch.cuda.synchronize()
        assert model.weight.grad.abs().sum() == 32, values
        assert of(trace, PassBegun)


def test_a_pass_on_another_stream():
    x = torch.ones(1000, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with record_torch(values="norm") as trace, torch.cuda.stream(side):
        y = x * 2
        for _ in range(50):
            y = y.sin()
        y.sum().backward()
    torch.cuda.synchronize()
    assert len(of(trace, Visited)) >= 51


def test_recording_keeps_no_memory_of_the_gpu():
    model, x = network()

    def once():
        with record_torch(model, values="norm"):
            step(model, x)
        model.zero_grad()

    once()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(50):
        once()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 10_000


def test_the_tape_on_the_gpu():
    data = torch.linspace(-1, 1, 5, device="cuda", dtype=torch.double)
    plain = data.clone().requires_grad_()
    (g,) = torch.autograd.grad((plain.tanh() * plain).sum(), plain, create_graph=True)
    (gg,) = torch.autograd.grad(g.square().sum(), plain)
    with Tape(), record() as trace:
        a = Variable(data, name="a")
        (first,) = grad((a.tanh() * a).sum(), [a])
        (second,) = grad((first * first).sum(), [a])
    assert first.value.is_cuda
    assert torch.allclose(first.value, g)
    assert torch.allclose(second.value, gg)
    assert "a" in trace.transcript()


def test_the_calls_of_a_step_are_judged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the arguments of a faulty call are kept below it
    x = vector(8, dtype=torch.float)
    with check_calls() as report:
        (Cube.apply(x).sum() + WrongCube.apply(x).sum()).backward()
    assert [each.verdict for each in report.reports] == ["wrong_partial", "correct"], str(report)


@torch.library.custom_op("simplegrad_test::gpu_square", mutates_args=())
def gpu_square(x: torch.Tensor) -> torch.Tensor:
    return x * x


gpu_square.register_fake(lambda x: torch.empty_like(x))
gpu_square.register_autograd(
    lambda ctx, g: 2 * ctx.saved_tensors[0] * g,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


def test_a_custom_op():
    assert check(gpu_square, vector()).verdict == "correct"


class OverDevices(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y.to(x.device)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y.to(g.device), (g * x).to(y.device)


class LeftOnTheGpu(OverDevices):
    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y.to(g.device), g * x


def test_inputs_on_two_devices():
    inputs = vector(), vector().detach().cpu().requires_grad_()
    report = check(OverDevices.apply, *inputs)
    assert report.verdict == "correct", str(report)
    (finding,) = check(LeftOnTheGpu.apply, *inputs).findings
    assert "a tensor on cuda:0, where cpu was expected, as the gradient of y" in finding.sentence
    assert finding.read_at.text == "return g * y.to(g.device), g * x"
