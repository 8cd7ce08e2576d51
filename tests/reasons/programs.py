"""Training steps with one fault each, or none: what is wrong with which gradient, and at which line.

A line is marked `# here` (also `# or here`). Each function is given a `record` that takes the model.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from .collecting import collections

FAULTS, HEALTHY, fault, healthy = collections()


class Net(nn.Module):
    def __init__(self, middle=None):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)
        self.middle = middle or torch.tanh

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


def data(rows=6):
    torch.manual_seed(0)
    return torch.randn(rows, 4), torch.randn(rows, 2)


def step(record, model, x=None, y=None):
    x, y = (data()[0] if x is None else x), (data()[1] if y is None else y)
    with record(model) as trace:
        F.mse_loss(model(x), y).backward()
    return model, trace


# -- nothing comes ---------------------------------------------------------------------------------------------------


@fault("first.weight", "none", "detach")
def detached_features(record):
    def middle(h):
        h = torch.relu(h)
        return h.detach() * 2  # here

    return step(record, Net(middle))


@fault("first.bias", "none", "data")
def through_data(record):
    def middle(h):
        scaled = h.data * 0.5  # here
        return torch.tanh(scaled)

    return step(record, Net(middle))


@fault("first.weight", "none", "no_grad")
def looked_up_without_grad(record):
    def middle(h):
        return torch.tanh(h)

    class Frozen(Net):
        def forward(self, x):
            with torch.set_grad_enabled(False):  # here
                h = self.first(x)  # or here
            return self.last(torch.tanh(h))

    return step(record, Frozen(middle))


@fault("first.weight", "none", "no_grad")
def under_inference_mode(record):
    class Cached(Net):
        @torch.inference_mode()  # here
        def features(self, x):
            return self.first(x)  # or here

        def forward(self, x):
            return self.last(self.features(x).clone())

    return step(record, Cached())


@fault("gain", "none", "left_torch")
def gain_as_a_number(record):
    class Gained(Net):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return super().forward(x) * self.gain.item()  # here

    return step(record, Gained())


@fault("kernel", "none", "left_torch", "detach")
def through_a_list(record):
    class Listed(Net):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.ones(5))

        def forward(self, x):
            weights = self.kernel.tolist()  # here
            weights = torch.tensor([w / sum(weights) for w in weights])  # or here
            return self.last(self.first(x) * weights)

    return step(record, Listed())


@fault("kernel", "none", "left_torch", "detach")
def through_arrays(record):
    class Arrayed(Net):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.ones(5))

        def forward(self, x):
            k = np.exp(self.kernel.detach().numpy())  # here
            k = torch.as_tensor(k)  # or here
            return self.last(self.first(x) * k)

    return step(record, Arrayed())


@fault("first.weight", "none", "rewrap")
def losses_in_a_new_tensor(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        parts = [F.mse_loss(model(x), y), model(x).abs().mean()]
        total = torch.tensor(parts, requires_grad=True)  # here
        total.sum().backward()
    return model, trace


@fault("scale", "none", "rewrap")
def parameter_of_a_parameter(record):
    class Scaled(Net):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, x):
            positive = self.scale.exp()
            kept = nn.Parameter(positive)  # here
            return self.last(self.first(x) * kept)

    return step(record, Scaled())


@fault("first.weight", "none", "not_differentiable")
def by_rank(record):
    def middle(h):
        order = h.argsort(dim=1)  # here
        return order.float()

    return step(record, Net(middle))


@fault("first.weight", "none", "not_differentiable")
def by_comparison(record):
    def middle(h):
        on = h > 0  # here
        return on.float() * 2.0

    return step(record, Net(middle))


@fault("aux.weight", "none", "unused")
def auxiliary_head_left_out(record):
    class Two(Net):
        def __init__(self):
            super().__init__()
            self.aux = nn.Linear(5, 2)

        def forward(self, x, with_aux=False):
            h = torch.tanh(self.first(x))
            out = self.last(h)
            if with_aux:  # here
                out = out + self.aux(h)  # or here
            return out

    return step(record, Two())


@fault("aux.weight", "none", "unused")
def result_dropped(record):
    class Two(Net):
        def __init__(self):
            super().__init__()
            self.aux = nn.Linear(5, 2)

        def forward(self, x):
            h = torch.tanh(self.first(x))
            self.seen = self.aux(h)  # here
            return self.last(h)

    return step(record, Two())


@fault("table", "none", "not_a_parameter")
def plain_tensor(record):
    class Plain(Net):
        def __init__(self):
            super().__init__()
            self.table = torch.ones(5)  # here

        def forward(self, x):
            return self.last(self.first(x) * self.table)

    return step(record, Plain())


@fault("hidden", "none", "non_leaf")
def kept_result(record):
    class Keeping(Net):
        def forward(self, x):
            self.hidden = torch.tanh(self.first(x))  # here
            return self.last(self.hidden)

    return step(record, Keeping())


@fault("first.weight", "none", "frozen")
def frozen_inside(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        for p in model.first.parameters():
            p.requires_grad = False  # here
        F.mse_loss(model(x), y).backward()
    return model, trace


@fault("first.weight", "none", "other_object")
def trained_a_copy(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        twin = copy.deepcopy(model)  # here
        F.mse_loss(twin(x), y).backward()
    return model, trace


class Halves(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, None  # none of it


@fault("scale", "none", "custom_function")
def function_returns_none(record):
    class Scaled(Net):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, x):
            return self.last(Halves.apply(self.first(x), self.scale))

    return step(record, Scaled())


@fault("first.weight", "none", "not_asked")
def only_some_inputs(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        loss = F.mse_loss(model(x), y)
        loss.backward(inputs=[model.last.weight, model.last.bias])  # here
    return model, trace


@fault("first.weight", "none", "not_asked")
def grad_instead_of_backward(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        loss = F.mse_loss(model(x), y)
        torch.autograd.grad(loss, list(model.parameters()))  # here
    return model, trace


@fault("first.weight", "none", "zeroed")
def cleared_too_early(record):
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data()
    with record(model) as trace:
        F.mse_loss(model(x), y).backward()
        opt.zero_grad()  # here
        opt.step()
    return model, trace


@fault("first.weight", "none", "checkpoint")
def checkpointed_list(record):
    class Packed(Net):
        def run(self, parts):
            return torch.tanh(self.first(parts[0]))

        def forward(self, x):
            h = checkpoint(self.run, [x], use_reentrant=True)  # here
            return self.last(h)

    return step(record, Packed())


# -- zeros -----------------------------------------------------------------------------------------------------------


@fault("first.weight", "zero", "flat")
def dead_units(record):
    def middle(h):
        return F.relu(h - 50)  # here

    return step(record, Net(middle))


@fault("first.weight", "zero", "flat")
def clamped(record):
    def middle(h):
        return h.clamp(20, 30)  # here

    return step(record, Net(middle))


@fault("first.weight", "zero", "flat")
def rounded(record):
    def middle(h):
        return torch.floor(h * 4) / 4  # here

    return step(record, Net(middle))


@fault("first.weight", "zero", "zero_factor")
def times_nothing(record):
    weight = 0.0
    model = Net()
    x, y = data()
    with record(model) as trace:
        h = model.first(x)
        loss = model.last(torch.ones(6, 5)).pow(2).mean() + weight * h.pow(2).mean()  # here
        loss.backward()
    return model, trace


@fault("first.weight", "zero", "zero_factor")
def masked_out(record):
    mask = torch.zeros(5)

    def middle(h):
        return torch.tanh(h) * mask  # here

    return step(record, Net(middle))


@fault("experts.1.weight", "zero", "not_selected")
def never_the_largest(record):
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])
            nn.init.constant_(self.experts[1].bias, -40.0)

        def forward(self, x):
            a, b = [expert(x) for expert in self.experts]
            return torch.maximum(a, b)  # here

    torch.manual_seed(0)
    return step(record, Experts())


@fault("table.weight[3]", "zero", "not_selected")
def row_never_read(record):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(6, 4), nn.Linear(4, 2)

        def forward(self, ids):
            rows = self.table(ids)  # here
            return self.out(torch.tanh(rows))

    return step(record, Words(), torch.tensor([0, 1, 2, 4, 5, 0]))


@fault("first.weight", "zero", "zeroed")
def zeroed_by_hand(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        F.mse_loss(model(x), y).backward()
        for p in model.parameters():
            p.grad.zero_()  # here
    return model, trace


@fault("first.weight", "zero", "hook")
def hook_on_a_result(record):
    def middle(h):
        h = torch.tanh(h)
        h.register_hook(lambda g: g * 0)  # here
        return h

    return step(record, Net(middle))


@fault("first.weight", "zero", "data")
def saved_value_changed(record):
    def middle(h):
        s = torch.sigmoid(h)
        s.data.copy_((s > 0.5).float())  # here
        return s

    return step(record, Net(middle))


@fault("first.weight", "zero", "clip")
def clipped_away(record):
    class Rooted(Net):
        def __init__(self):
            super().__init__()
            self.root = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return super().forward(x) + self.root.sqrt()

    model = Rooted()
    x, y = data()
    with record(model) as trace:
        F.mse_loss(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # here
    return model, trace


@fault("first.weight", "zero", "loss_scale")
def half_precision(record):
    model = Net().half()
    x, y = data()
    with record(model) as trace:
        out = model(x.half() * 1e-4)
        loss = (out - y.half()).square().mean() * 1e-3  # or here
        loss.backward()  # here
    return model, trace


@fault("first.weight", "zero", "custom_function")
def function_returns_zeros(record):
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return torch.zeros_like(g)  # here

    return step(record, Net(Forgetful.apply))


# -- far too small or large, not finite, left over ------------------------------------------------------------------


@fault("first.weight", "tiny", "saturated")
def saturated_gate(record):
    def middle(h):
        return torch.sigmoid(h.abs() * 0.1 + 15)  # here

    return step(record, Net(middle))


@fault("first.weight", "huge", "loss_scale")
def scaled_by_hand(record):
    model = Net()
    x, y = data()
    with record(model) as trace:
        loss = F.mse_loss(model(x), y) * 65536  # here
        loss.backward()
    return model, trace


@fault("first.weight", "huge", "loss_scale")
def scaler_not_undone(record):
    model = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    x, y = data()
    with record(model) as trace:
        loss = F.mse_loss(model(x), y)
        scaler.scale(loss).backward()  # here
    return model, trace


@fault("first.weight", "nan", "nonfinite")
def log_of_zero(record):
    def middle(h):
        p = torch.relu(h)
        return p * torch.log(p)  # here

    return step(record, Net(middle))


@fault("first.weight", "nan", "nonfinite")
def root_at_zero(record):
    class Rooted(Net):
        def forward(self, x):
            h = self.first(x)
            d = (h - h).pow(2).sum(1, keepdim=True)
            return self.last(d.sqrt() + h)  # here

    return step(record, Rooted())


@fault("first.weight", "nan", "hook")
def hook_divides(record):
    def middle(h):
        h = torch.tanh(h)
        h.register_hook(lambda g: g / 0)  # here
        return h

    return step(record, Net(middle))


@fault("first.weight", "stale", "accumulated")
def never_cleared(record):
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data()
    with record(model) as trace:
        for _ in range(2):
            F.mse_loss(model(x), y).backward()  # here
            opt.step()
    return model, trace


@fault("layers.0.weight", "stale", "not_a_parameter")
def layers_in_a_dict(record):
    class Dicted(Net):
        def __init__(self):
            super().__init__()
            self.layers = {0: nn.Linear(5, 5)}  # here

        def forward(self, x):
            return self.last(self.layers[0](self.first(x)))

    model = Dicted()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data()
    with record(model) as trace:
        for _ in range(2):
            opt.zero_grad()
            F.mse_loss(model(x), y).backward()
            opt.step()
    return model, trace


@fault("last.weight", "stale", "other_object")
def head_replaced_after_the_optimizer(record):
    model = Net()
    opt = torch.optim.Adam(model.parameters(), lr=0.1)
    x, y = data()
    with record(model) as trace:
        model.last = nn.Linear(5, 2)  # here
        for _ in range(2):
            opt.zero_grad()
            F.mse_loss(model(x), y).backward()
            opt.step()
    return model, trace


# -- nothing is wrong ------------------------------------------------------------------------------------------------


@healthy
def accumulates_over_micro_batches(record):
    model = Net()
    opt = torch.optim.AdamW(model.parameters(), lr=0.01)
    x, y = data()
    with record(model) as trace:
        for _ in range(2):
            opt.zero_grad()
            for part in range(2):
                (F.mse_loss(model(x[part::2]), y[part::2]) / 2).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
    return model, trace


@healthy
def two_players_in_turn(record):
    model = nn.ModuleDict({"maker": nn.Linear(2, 4), "critic": Net()})
    maker = torch.optim.SGD(model["maker"].parameters(), lr=0.1)
    critic = torch.optim.SGD(model["critic"].parameters(), lr=0.1)
    noise, real = torch.randn(6, 2), data()[0]
    with record(model) as trace:
        for _ in range(2):
            critic.zero_grad()
            fake = model["maker"](noise).detach()
            (model["critic"](fake).mean() - model["critic"](real).mean()).backward()
            critic.step()
            maker.zero_grad()
            (-model["critic"](model["maker"](noise)).mean()).backward()
            maker.step()
    return model, trace


@healthy
def checkpointed_and_scaled(record):
    class Checkpointed(Net):
        def forward(self, x):
            return self.last(checkpoint(lambda x: torch.tanh(self.first(x)), x, use_reentrant=False))

    model = Checkpointed()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    x, y = data()
    with record(model) as trace:
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.mse_loss(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(opt)
        scaler.update()
    return model, trace


@healthy
def moving_average_and_masks(record):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x):
            with torch.no_grad():
                self.mean.lerp_(x.mean(0), 0.1)
            scores = self.q(x) @ self.k(x).t()
            scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), float("-inf"))
            return self.out(scores.softmax(-1) @ (x - self.mean))

    model = Attending()
    average = copy.deepcopy(model)
    x, y = data()
    with record(model) as trace:
        loss = F.mse_loss(model(x), y) + 0.0 * 3
        loss.backward()
        with torch.no_grad():
            for a, b in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 0.5)
        print(f"{loss.item():.3f}", end="")
    return model, trace


@healthy
def gradient_penalty(record):
    model = Net()
    x, y = data()
    x.requires_grad_()
    with record(model) as trace:
        out = model(x)
        (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        (F.mse_loss(out, y) + (g.norm(dim=1) - 1).pow(2).mean()).backward()
    return model, trace
