"""More training steps with one fault each, or none; of the same kinds as those in programs.py, written after them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .collecting import collections

FAULTS, HEALTHY, fault, healthy = collections()


def given(rows=5, width=3, seed=1):
    torch.manual_seed(seed)
    return torch.randn(rows, width)


class Tower(nn.Module):
    """Two linear layers and something of the fault's own between them."""

    def __init__(self, width=3):
        super().__init__()
        self.enc, self.dec = nn.Linear(width, 4), nn.Linear(4, 1)

    def between(self, h):
        return F.silu(h)

    def forward(self, x):
        return self.dec(self.between(self.enc(x)))


# -- none --------------------------------------------------------------------------------------------------------------


@fault("gain", "none", "frozen")
def asked_for_too_late(record):
    class Gain(Tower):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4), requires_grad=False)  # here

        def between(self, h):
            return h * self.gain

    model = Gain()
    with record(model) as trace:
        loss = model(given()).square().mean()
        model.gain.requires_grad_(True)  # or here
        loss.backward()
    return model, trace


@fault("enc.weight", "none", "no_grad")
def written_into_a_buffer_without_grad(record):
    class Cache(Tower):
        def between(self, h):
            keys = torch.zeros(h.shape)
            with torch.no_grad():  # here
                keys[:] = h * 2  # or here
            return keys + 1

    model = Cache()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("second.weight", "none", "unused")
def only_in_eval(record):
    class Both(Tower):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(4, 1)

        def forward(self, x):
            h = F.silu(self.enc(x))
            if not self.training:  # here
                return self.dec(h) + self.second(h)  # or here
            return self.dec(h)

    model = Both()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("log_t", "none", "left_torch")
def temperature_by_math(record):
    class Soft(Tower):
        def __init__(self):
            super().__init__()
            self.log_t = nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            t = math.exp(self.log_t)  # here
            return super().forward(x) / t

    model = Soft()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.bias", "none", "left_torch", "detach")
def a_filter_by_numpy(record):
    class Filtered(Tower):
        def between(self, h):
            rows = h.detach().cpu().numpy()  # here
            smooth = np.convolve(rows.ravel(), [0.25, 0.5, 0.25], "same")  # or here
            return torch.as_tensor(smooth.reshape(rows.shape), dtype=h.dtype)  # or here

    model = Filtered()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "not_differentiable")
def hard_gate(record):
    class Gate(Tower):
        def between(self, h):
            return (h > 0).float()  # here

    model = Gate()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "not_differentiable")
def one_hot_of_the_best(record):
    class Hard(Tower):
        def between(self, h):
            best = h.softmax(-1).max(-1).indices  # here
            return F.one_hot(best, 4).to(h.dtype)  # or here

    model = Hard()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("h0", "none", "detach")
def state_cut_off(record):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.h0 = nn.Parameter(torch.zeros(1, 4))
            self.cell = nn.GRUCell(3, 4)
            self.out = nn.Linear(4, 1)

        def forward(self, xs):
            h = self.h0.expand(2, 4)
            for x in xs:
                h = h.clone().detach_()  # here
                h = self.cell(x, h)
            return self.out(h)

    torch.manual_seed(4)
    model = Recurrent()
    with record(model) as trace:
        model(torch.randn(3, 2, 3)).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "rewrap")
def features_as_a_parameter(record):
    class Prompt(Tower):
        def between(self, h):
            prompt = nn.Parameter(h.mean(0, keepdim=True))  # here
            return prompt + torch.ones(5, 4)

    model = Prompt()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "other_object", "not_asked")
def called_with_other_weights(record):
    model = Tower()
    fast = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}  # or here
    with record(model) as trace:
        out = torch.func.functional_call(model, fast, (given(),))  # here
        out.square().mean().backward()
    return model, trace


@fault("enc.weight", "none", "frozen")
def thawed_in_part(record):
    model = Tower()
    model.requires_grad_(False)  # here
    for name, p in model.named_parameters():
        if name.startswith("dec"):  # or here
            p.requires_grad_(True)  # or here
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        out = x * w
        ctx.mark_non_differentiable(out)
        return out

    @staticmethod
    def backward(ctx, g):
        return g, None


@fault("gain", "none", "custom_function")
def marked_as_not_differentiable(record):
    class Gain(Tower):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4))

        def between(self, h):
            return h + Rounded.apply(h, self.gain)  # here

    model = Gain()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("dec.weight", "none", "zeroed", "hook")
def taken_away_by_a_hook(record):
    model = Tower()

    def step_at_once(p):
        with torch.no_grad():
            p -= 0.1 * p.grad
        p.grad = None  # here

    model.dec.weight.register_post_accumulate_grad_hook(step_at_once)  # or here
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("experts.0.weight", "none", "not_selected", "unused")
def sent_to_one_expert(record):
    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.router = nn.Linear(3, 2)
            self.experts = nn.ModuleList([nn.Linear(3, 1) for _ in range(2)])
            with torch.no_grad():
                self.router.bias.copy_(torch.tensor([-50.0, 50.0]))

        def forward(self, x):
            weight, chosen = self.router(x).softmax(-1).max(-1)  # here
            out = x.new_zeros(len(x), 1)
            for i, expert in enumerate(self.experts):
                rows = (chosen == i).nonzero().flatten()  # or here
                if len(rows):  # or here
                    out = out.index_add(0, rows, expert(x[rows]) * weight[rows, None])  # or here
            return out

    torch.manual_seed(2)
    model = Mixture()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("adapter.weight", "none", "unused", "other_object")
def the_adapter_is_not_called(record):
    class Adapted(Tower):
        def __init__(self):
            super().__init__()
            self.adapter = nn.Linear(4, 4)

        def between(self, h):
            self.adapter(h)  # or here
            return F.silu(h)  # here

    model = Adapted()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


# -- zero --------------------------------------------------------------------------------------------------------------


@fault("enc.weight", "zero", "flat")
def clamped_to_one(record):
    class Clamped(Tower):
        def between(self, h):
            return (h + 9).clamp(0, 1)  # here

    model = Clamped()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "flat", "not_differentiable")
def tossed(record):
    class Tossed(Tower):
        def between(self, h):
            return torch.bernoulli(h.sigmoid())  # here

    model = Tossed()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("score.weight", "zero", "flat", "saturated")
def softmax_over_one(record):
    class Attend(Tower):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(4, 1, bias=False)

        def between(self, h):
            return h * self.score(h).softmax(-1)  # here

    model = Attend()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "saturated", "flat")
def far_out_on_the_sigmoid(record):
    class Far(Tower):
        def between(self, h):
            return torch.sigmoid(h * 3 + 200)  # here

    model = Far()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "zero_factor")
def all_dropped(record):
    class Dropped(Tower):
        def between(self, h):
            return F.dropout(h, p=1.0)  # here

    model = Dropped()
    with record(model) as trace:
        model(given()).sum().backward()
    return model, trace


@fault("aux.weight", "zero", "zero_factor")
def auxiliary_loss_without_weight(record):
    class Aux(Tower):
        def __init__(self):
            super().__init__()
            self.aux = nn.Linear(4, 2)

        def losses(self, x):
            h = F.silu(self.enc(x))
            return self.dec(h).square().mean(), self.aux(h).square().mean()

    model, alpha = Aux(), 0.0
    with record(model) as trace:
        main, aux = model.losses(given())
        (main + alpha * aux).backward()  # here
    return model, trace


@fault("enc.weight", "zero", "hook")
def silenced(record):
    model = Tower()
    model.enc.weight.register_hook(lambda g: torch.zeros_like(g))  # here
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "clip")
def clipped_to_nothing_by_value(record):
    model = Tower()
    with record(model) as trace:
        model(given()).square().mean().backward()
        nn.utils.clip_grad_value_(model.enc.parameters(), 0.0)  # here
    return model, trace


@fault("emb.weight[2]", "zero", "not_selected")
def a_word_that_never_comes(record):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(6, 3)
            self.out = nn.Linear(3, 1)

        def forward(self, ids):
            return self.out(self.emb(ids).mean(1))  # here

    torch.manual_seed(3)
    model = Bag()
    with record(model) as trace:
        model(torch.tensor([[0, 1, 3], [4, 5, 1]])).square().mean().backward()
    return model, trace


@fault("enc.weight", "zero", "zeroed")
def multiplied_away_by_hand(record):
    model = Tower()
    with record(model) as trace:
        model(given()).square().mean().backward()
        for p in model.enc.parameters():
            p.grad.mul_(0)  # here
    return model, trace


# -- nan ---------------------------------------------------------------------------------------------------------------


@fault("enc.weight", "nan", "nonfinite")
def a_row_of_zeros_normed(record):
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Linear(3, 4, bias=False)

        def forward(self, x):
            h = self.enc(x)
            return h / h.norm(dim=-1, keepdim=True)  # here

    model, x = Unit(), given()
    x[2] = 0
    with record(model) as trace:
        model(x).square().mean().backward()
    return model, trace


@fault("enc.weight", "nan", "nonfinite")
def deviation_of_equal_numbers(record):
    class Scaled(Tower):
        def between(self, h):
            spread = (h - h.mean(0)).pow(2).sum() * 0
            return h + torch.sqrt(spread)  # here

    model = Scaled()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("enc.bias", "nan", "nonfinite")
def logarithm_behind_a_where(record):
    class Entropy(Tower):
        def between(self, h):
            p = h.abs() * (h > 0)
            return torch.where(p > 0, p * p.log(), torch.zeros_like(p))  # here

    model = Entropy()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


@fault("dec.weight", "nan", "nonfinite")
def nothing_left_to_average(record):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec = nn.Linear(3, 4), nn.Linear(4, 5)

        def forward(self, x, y, keep):
            losses = F.cross_entropy(self.dec(self.enc(x).tanh()), y, reduction="none")
            return (losses * keep).sum() / keep.sum()  # here

    model = Tagger()
    with record(model) as trace:
        model(given(), torch.zeros(5, dtype=torch.long), torch.zeros(5)).backward()
    return model, trace


@fault("v.weight", "nan", "nonfinite")
def a_query_that_sees_nobody(record):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(3, 3) for _ in range(3))

        def forward(self, x, lengths):
            mask = torch.arange(x.shape[1])[None, None] < lengths[:, None, None]
            scores = self.q(x) @ self.k(x).mT
            scores = scores.masked_fill(~mask, -math.inf)  # or here
            return scores.softmax(-1) @ self.v(x)  # here

    torch.manual_seed(6)
    model = Attention()
    with record(model) as trace:
        model(torch.randn(2, 4, 3), torch.tensor([4, 0])).square().mean().backward()
    return model, trace


@fault("enc.weight", "nan", "nonfinite")
def distance_to_itself(record):
    class Pairs(Tower):
        def between(self, h):
            apart = (h[:, None] - h[None]).pow(2).sum(-1)
            return h * apart.sqrt().mean()  # here

    model = Pairs()
    with record(model) as trace:
        model(given()).square().mean().backward()
    return model, trace


# -- too small, too large, from before ---------------------------------------------------------------------------------


@fault("layers.0.weight", "tiny", "saturated")
def many_sigmoids(record):
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(16)])

        def forward(self, x):
            for layer in self.layers:
                x = torch.sigmoid(layer(x))  # here
            return x

    torch.manual_seed(7)
    model = Deep()
    with record(model) as trace:
        model(torch.randn(3, 4)).mean().backward()
    return model, trace


@fault("enc.weight", "stale", "accumulated")
def cleared_only_once(record):
    model = Tower()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with record(model) as trace:
        optimizer.zero_grad()
        for seed in (1, 2):
            loss = model(given(seed=seed)).square().mean()
            loss.backward()  # here
            optimizer.step()
    return model, trace


@fault("extra.weight", "stale", "other_object")
def added_after_the_optimizer(record):
    model = Tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)  # or here
    model.extra = nn.Linear(3, 1)  # here
    with record(model) as trace:
        for seed in (1, 2):
            x = given(seed=seed)
            optimizer.zero_grad()
            (model(x) + model.extra(x)).square().mean().backward()
            optimizer.step()
    return model, trace


@fault("enc.weight", "stale", "accumulated")
def closure_forgets(record):
    model, x = Tower(), given()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        loss = model(x).square().mean()
        loss.backward()  # here
        return loss

    with record(model) as trace:
        optimizer.step(closure)
    return model, trace


# -- nothing is wrong --------------------------------------------------------------------------------------------------


@healthy
def closure_that_clears(record):
    model, x = Tower(), given()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    with record(model) as trace:
        optimizer.step(closure)
    return model, trace


@healthy
def frozen_in_its_class(record):
    class Adapted(Tower):
        def __init__(self):
            super().__init__()
            self.enc.requires_grad_(False)
            self.low, self.high = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2, 4))

        def forward(self, x):
            return self.dec(self.between(self.enc(x) + x @ self.low @ self.high))

    model = Adapted()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    with record(model) as trace:
        for seed in (1, 2):
            optimizer.zero_grad()
            model(given(seed=seed)).square().mean().backward()
            optimizer.step()
    return model, trace


@healthy
def state_carried_over(record):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.rnn = nn.Embedding(9, 4, padding_idx=0), nn.LSTM(4, 4, batch_first=True)
            self.out = nn.Linear(4, 9)

        def forward(self, ids, state):
            h, state = self.rnn(self.words(ids), state)
            return self.out(h), state

    torch.manual_seed(5)
    model, state = Reader(), None
    optimizer = torch.optim.Adam(model.parameters())
    with record(model) as trace:
        for _ in range(2):
            state = state and tuple(x.detach() for x in state)
            logits, state = model(torch.randint(1, 9, (2, 5)), state)
            optimizer.zero_grad()
            F.cross_entropy(logits.flatten(0, 1), torch.randint(1, 9, (10,))).backward()
            optimizer.step()
    return model, trace
