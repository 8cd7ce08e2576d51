"""A fourth set of training steps: autoencoders, experts, weights made by weights, and models that begin with factors
near zero one behind the other."""

import torch
import torch.nn.functional as F
from torch import nn

from .collecting import collections

FAULTS, HEALTHY, fault, healthy = collections()


@fault("enc.weight", "none", "detach")
def a_latent_that_is_cut_off(record):
    class Variational(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec = nn.Linear(6, 4), nn.Linear(2, 6)

        def forward(self, x):
            mean, spread = self.enc(x).chunk(2, -1)
            z = mean + torch.randn_like(mean) * spread.exp()  # of the mean, its shape alone is read
            return self.dec(z.detach())  # here

    model, x = Variational(), torch.randn(5, 6)
    with record(model) as trace:
        F.mse_loss(model(x), x).backward()
    return model, trace


@fault("book.weight", "none", "detach")
def a_code_that_is_looked_up(record):
    """argmin has no gradient either, and is not what stands in the way."""

    class Quantised(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec, self.book = nn.Linear(4, 3), nn.Linear(3, 4), nn.Embedding(6, 3)

        def forward(self, x):
            z = self.enc(x)
            code = self.book(torch.cdist(z, self.book.weight).argmin(-1))
            return self.dec(z + (code - z).detach())  # here

    model, x = Quantised(), torch.randn(5, 4)
    with record(model) as trace:
        F.mse_loss(model(x), x).backward()
    return model, trace


@fault("scores", "none", "not_differentiable")
def a_choice_behind_a_detach(record):
    """The detached maximum does no harm: the choice does."""

    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores, self.table = nn.Parameter(torch.tensor([1.0, 3.0, 2.0])), nn.Embedding(3, 4)

        def forward(self):
            shifted = self.scores - self.scores.detach().max()
            best = shifted.argmax()  # here
            return self.table(best)

    model = Chosen()
    with record(model) as trace:
        model().square().sum().backward()
    return model, trace


@fault("makes.weight", "none", "data")
def weights_written_into_a_layer(record):
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.makes, self.main = nn.Linear(2, 12), nn.Linear(3, 4, bias=False)

        def forward(self, given, x):
            self.main.weight.data.copy_(self.makes(given).view(4, 3))  # here
            return self.main(x)

    model = Made()
    with record(model) as trace:
        model(torch.randn(2), torch.randn(5, 3)).square().mean().backward()
    return model, trace


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 4) for _ in range(3))


@fault("experts.2.weight", "none", "unused")
def a_loop_over_all_but_the_last(record):
    class Looped(Experts):
        def forward(self, x):
            share, y = self.gate(x).softmax(-1), 0
            for k, expert in enumerate(self.experts[:-1]):  # here
                y = y + share[:, k : k + 1] * expert(x)
            return y

    model = Looped()
    with record(model) as trace:
        model(torch.randn(6, 4)).square().mean().backward()
    return model, trace


@fault("experts.2.weight", "none", "unused")
def an_item_by_its_number(record):
    """`self` has another name, and the other items are used."""

    class Numbered(Experts):
        def forward(net, x):
            y = net.experts[0](x) * net.gate(x)[:, :1]
            if x.sum() > 1e9:  # here
                y = y + net.experts[2](x)
            return y + net.experts[1](x)

    model = Numbered()
    with record(model) as trace:
        model(torch.randn(6, 4)).square().mean().backward()
    return model, trace


class Scaled(nn.Module):
    """A block whose result is multiplied by a trained factor that begins near zero."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x):
        return self.gamma * self.down(F.gelu(self.up(self.norm(x))))


@healthy
def factors_that_begin_small_one_behind_the_other(record):
    """What a block's own factor gets is tiny as well, until the one behind it has grown."""

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.last = nn.ModuleList(Scaled(8) for _ in range(3)), Scaled(8)
            self.token, self.head = nn.Parameter(torch.randn(1, 8)), nn.Linear(8, 2)

        def forward(self, x):
            for block in self.blocks:
                x = x + block(x)
            return self.head(self.token + self.last(x.mean(0, keepdim=True)))

    torch.manual_seed(2)
    model, x = Deep(), torch.randn(4, 8)
    with record(model) as trace:
        model(x).square().mean().backward()
    return model, trace


class Adversaries(nn.Module):
    def __init__(self):
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
        self.critic = nn.Sequential(nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))


@fault("maker.0.weight", "none", "detach")
def a_cut_in_the_step_that_is_to_train_it(record):
    """The same cut is right in the critic's step, which comes first."""
    torch.manual_seed(0)
    pair, score = Adversaries(), nn.BCEWithLogitsLoss()
    makes, judges = (torch.optim.SGD(each.parameters(), 0.1) for each in (pair.maker, pair.critic))
    with record(pair) as trace:
        fake = pair.maker(torch.randn(4, 3))
        judges.zero_grad()
        score(pair.critic(fake.detach()), torch.zeros(4, 1)).backward()
        judges.step()
        makes.zero_grad()
        loss = score(pair.critic(fake.detach()), torch.ones(4, 1))  # here
        loss.backward()
        makes.step()
    return pair, trace


@fault("student.fc.weight", "none", "unused")
def its_like_runs_in_its_place(record):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.student, self.teacher = Layer(), Layer()

        def forward(self, x):
            return self.teacher(x)  # here

    model = Both()
    with record(model) as trace:
        model(torch.randn(3, 3)).square().mean().backward()
    return model, trace


@fault("last.weight", "none", "hook")
def dropped_by_a_hook_before_the_step(record):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("first", nn.Linear(3, 3))
    model.add_module("last", nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def drop(parameter):
        parameter.grad = None  # here

    model.last.weight.register_post_accumulate_grad_hook(drop)
    with record(model) as trace:
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    return model, trace


@healthy
def a_bias_of_which_only_a_difference_is_asked(record):
    """What its two uses bring cancels out."""
    torch.manual_seed(0)
    critic = Adversaries().critic
    with record(critic) as trace:
        x = torch.randn(4, 2, requires_grad=True)
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        far = (slope.norm(dim=1) - 1).square().mean()
        (critic(torch.randn(4, 2)).mean() - critic(torch.randn(4, 2)).mean() + far).backward()
    return critic, trace
