"""A third set of training steps with one fault each, or none: blocks, hooks, copies, routes and first steps."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from .collecting import collections
from .programs_more import Tower, given

FAULTS, HEALTHY, fault, healthy = collections()


@fault("enc.weight", "none", "no_grad")
def gradients_by_a_switch(record):
    class Switched(Tower):
        learns = False

        def forward(self, x):
            with torch.set_grad_enabled(self.learns):  # here
                h = self.enc(x)
            return self.dec(h)

    model = Switched()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "no_grad")
def gradients_off_in_a_block(record):
    class Blocked(Tower):
        def between(self, h):
            with torch.no_grad():  # here
                h = torch.relu(h)
                h = h + 1
            return h

    model = Blocked()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "hook")
def module_hook_gives_zeros(record):
    def stop(module, grads_in, grads_out):
        return tuple(torch.zeros_like(g) for g in grads_in)  # here

    model = Tower()
    model.dec.register_full_backward_hook(stop)
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "tiny", "flat")  # but for rounding it is zero
def the_sum_of_a_softmax(record):
    model = Tower()
    with record(model) as trace:
        model.enc(given()).softmax(1).sum().backward()  # here
    return model, trace


@fault("enc.weight", "none", "frozen")
def frozen_by_a_condition(record):
    model = Tower()
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("dec")  # here
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "other_object")
def a_layer_replaced_before_backward(record):
    model = Tower()
    with record(model) as trace:
        loss = model(given()).square().mean()
        model.enc = nn.Linear(3, 4)  # here
        loss.backward()
    return model, trace


@fault("dec.weight", "stale", "other_object")
def an_optimizer_of_one_layer(record):
    model = Tower()
    optimizer = torch.optim.Adagrad(model.enc.parameters(), 0.1)  # here
    with record(model) as trace:
        for _ in range(2):
            optimizer.zero_grad()
            model(given()).square().mean().backward()
            optimizer.step()
    return model, trace


@fault("dec.weight", "none", "other_object")
def copied_before_the_run(record):
    model = Tower()
    worker = copy.deepcopy(model)
    with record(model) as trace:
        worker(given()).square().mean().backward()  # here
    return model, trace


@fault("adapter.weight", "none", "no_grad")
def changed_after_it_was_read(record):
    model = Tower()
    model.adapter = nn.Linear(1, 1)
    with record(model) as trace:
        y = model(given())
        with torch.no_grad():  # here
            bonus = model.adapter(y)
        (y + bonus).square().mean().backward()
        model.adapter.load_state_dict(nn.Linear(1, 1).state_dict())
    return model, trace


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(3, 4), nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, x):
        weight, chosen = self.gate(x).softmax(-1).max(-1)
        parts = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            rows = (chosen == k).nonzero().flatten()
            if len(rows):
                parts = parts.index_add(0, rows, expert(x[rows]) * weight[rows, None])
        return parts


@healthy
def experts_without_a_token(record):
    model = Routed()
    with record(model) as trace:
        model(given(rows=2)).square().mean().backward()
    return model, trace


@healthy
def low_rank_at_its_first_step(record):
    class Adapted(Tower):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.zeros(4, 2))

        def between(self, h):
            return h + h @ self.down.T @ self.up.T

    model = Adapted()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@healthy
def teacher_without_gradients(record):
    model = nn.ModuleDict({"teacher": nn.Linear(3, 2).eval(), "student": nn.Linear(3, 2)})
    with record(model) as trace:
        with torch.no_grad():
            goal = model["teacher"](given()).softmax(1)
        F.kl_div(model["student"](given()).log_softmax(1), goal, reduction="batchmean").backward()
    return model, trace


@healthy
def target_network_that_follows(record):
    model = nn.ModuleDict({"net": nn.Linear(3, 2), "target": nn.Linear(3, 2)})
    optimizer = torch.optim.SGD(model["net"].parameters(), 0.1)
    with record(model) as trace:
        with torch.no_grad():
            goal = model["target"](given()).max(1, keepdim=True).values
        F.smooth_l1_loss(model["net"](given())[:, :1], goal).backward()
        optimizer.step()
        model["target"].load_state_dict(model["net"].state_dict())
    return model, trace


class Attending(nn.Module):
    """One block of attention, whose keys have a bias: no score tells it from none."""

    def __init__(self, attend):
        super().__init__()
        self.q, self.k, self.v, self.attend = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), attend

    def forward(self, x):
        return self.attend(self.q(x), self.k(x), self.v(x))


def attended(q, k, v):
    return (q @ k.mT / 3).softmax(-1) @ v


def step_of(record, model, x):
    with record(model) as trace:
        model(x).square().mean().backward()
    return model, trace


@healthy
def bias_of_the_keys(record):
    return step_of(record, Attending(attended), torch.randn(4, 6, 8))


@healthy
def bias_of_the_keys_in_one_call(record):
    return step_of(record, Attending(F.scaled_dot_product_attention), torch.randn(4, 6, 8))


class Scaled(nn.Module):
    """A residual block whose branch begins next to nothing, by a factor of its own (CaiT, ConvNeXt)."""

    def __init__(self, shape):
        super().__init__()
        self.inner, self.gamma, self.shape = nn.Linear(8, 8), nn.Parameter(torch.full((8,), 1e-7)), shape

    def forward(self, x):
        return x + self.inner(x).tanh().mul(self.gamma.reshape(self.shape))


@healthy
def factors_that_begin_small(record):
    model = nn.Sequential(Scaled((8,)), Attending(attended), Scaled((1, 8)))
    return step_of(record, model, torch.randn(4, 6, 8))


@healthy
def a_head_that_begins_small(record):
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    nn.init.normal_(model[2].weight, std=1e-7)
    with record(model) as trace:
        F.cross_entropy(model(torch.randn(6, 8)), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    return model, trace


@fault("q.weight", "zero", "flat")
def softmax_of_one_element(record):
    def alone(q, k, v):
        return (q @ k.mT).softmax(-1) @ v  # here

    return step_of(record, Attending(alone), torch.randn(4, 1, 8))


@fault("inner.weight", "tiny", "zero_factor")
def small_by_a_constant(record):
    class Constant(Tower):
        def forward(self, x):
            return self.inner(x) * self.small  # here

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)
            self.register_buffer("small", torch.full((3,), 1e-9))

    model = Constant()
    with record(model) as trace:
        model(given()).sum().backward()
    return model, trace


@fault("enc.weight", "nan", "nonfinite")
def read_twice_and_once_without_a_slope(record):
    model = Tower()
    with record(model) as trace:
        size = (model.enc.weight * 0).sum().sqrt()  # here
        (model(given()).square().mean() + size).backward()
    return model, trace
