"""Steps on several ranks with one fault each, or none: which rank, what, which parameter, which line.

A line that may be named is marked `# here`. Each program is given its rank, how many ranks there are, a `record` that
takes the model, and a group of all ranks in which waiting ends after a second.
"""

import contextlib

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel as DDP

PROGRAMS = {}


def program(world, what="none", rank=None, parameter=""):
    def keep(function):
        PROGRAMS[function.__name__] = (function, world, what, rank, parameter)
        return function

    return keep


class Two(nn.Module):
    """Two layers with something in between."""

    def __init__(self, between=None):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)
        self.between = between or nn.Tanh()

    def forward(self, x):
        return self.last(self.between(self.first(x)))


class Bent(nn.Module):
    """The second layer is used for large inputs only."""

    def __init__(self):
        super().__init__()
        self.always, self.seldom = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        h = torch.sigmoid(self.always(x))
        if x.abs().max() > 5:  # here: branch
            h = h + self.seldom(h)
        return h


def made(cls=Two, *args, seed=3):
    torch.manual_seed(seed)
    return cls(*args)


def rows(rank, count=5):
    drawn = torch.Generator().manual_seed(900 + rank)
    return torch.randn(count, 3, generator=drawn), torch.randn(count, 1, generator=drawn)


def mean_of_all(model, world, group=None):
    for p in model.parameters():
        dist.all_reduce(p.grad, group=group)
        p.grad /= world


# -- a rank that the others wait for ---------------------------------------------------------------


@program(2, "hang", 1, "seldom.weight")
def seldom_used(rank, world, record, group):
    model = made(Bent)
    with record(model):
        model(rows(rank)[0] * (9 if rank == 0 else 0.1)).square().mean().backward()
        with_grad = [p for p in model.parameters() if p.grad is not None]
        for p in with_grad:  # here
            dist.all_reduce(p.grad, group=group)


@program(2, "hang", 1, "seldom.weight")
def seldom_used_under_ddp(rank, world, record, group):
    model = made(Bent)
    ddp = DDP(model, process_group=group)
    with record(model):
        ddp(rows(rank)[0] * (9 if rank == 0 else 0.1)).square().mean().backward()  # the line is that of the branch


@program(2, "hang", 1, "first.weight")
def one_batch_more(rank, world, record, group):
    model = made()
    ddp = DDP(model, process_group=group)
    x, y = rows(rank)
    with record(model):
        for _ in range(2 - rank):  # here
            F.mse_loss(ddp(x), y).backward()


@program(2, "hang", 1, "first.weight")
def one_round_more_by_hand(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        for _ in range(2 - rank):  # here
            F.mse_loss(model(x), y).backward()
            for p in model.parameters():
                dist.all_reduce(p.grad, group=group)
                p.grad /= world


@program(4, "hang", 2, "first.weight")
def too_large_to_go_on(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        loss = F.l1_loss(model(x), y + (rank == 2) * 100)
        loss.backward()
        if loss > 50:  # here
            return
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        dist.all_reduce(flat, group=group)


@program(2, "hang", 1, "")
def only_zero_waits(rank, world, record, group):
    def save():
        dist.barrier(group=group)

    model = made()
    x, y = rows(rank)
    with record(model):
        F.mse_loss(model(x), y).backward()
        mean_of_all(model, world)
        if rank == 0:  # here
            save()


# -- not reduced, twice, with wrong weights --------------------------------------------------------


@program(2, "not_reduced", None, "first.weight")
def never_synced(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank, 8)
    with record(model):
        for i, part in enumerate((slice(0, 4), slice(4, 8))):
            with ddp.no_sync() if i < 2 else contextlib.nullcontext():  # here
                (F.mse_loss(ddp(x[part]), y[part]) / 2).backward()


@program(2, "not_reduced", None, "first.weight")
def around_the_wrapper(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        guess = ddp.module(x)  # here
        F.mse_loss(guess, y).backward()


@program(2, "not_reduced", None, "first.weight")
def a_copy_was_reduced(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        F.mse_loss(model(x), y).backward()
        for p in model.parameters():
            mean = p.grad / world
            dist.all_reduce(mean)  # here


@program(2, "not_reduced", None, "last.weight")
def one_layer_forgotten(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        F.mse_loss(model(x), y).backward()
        for p in model.first.parameters():  # here
            dist.all_reduce(p.grad)
            p.grad /= world


@program(2, "reduced_twice", None, "first.weight")
def by_ddp_and_by_hand(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        F.mse_loss(ddp(x), y).backward()
        for p in model.parameters():
            dist.all_reduce(p.grad)  # here


@program(2, "reduced_twice", None, "first.weight")
def in_each_part(rank, world, record, group):
    model = made()
    x, y = rows(rank, 8)
    with record(model):
        for part in (slice(0, 4), slice(4, 8)):
            (F.mse_loss(model(x[part]), y[part]) / 2).backward()
            for p in model.parameters():
                dist.all_reduce(p.grad)  # here
        for p in model.parameters():
            p.grad /= world


@program(2, "wrong_weight", None, "first.weight")
def small_last_batch(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank, (7, 2)[rank])
    with record(model):
        loss = F.mse_loss(ddp(x), y)  # here
        loss.backward()


@program(2, "wrong_weight", None, "first.weight")
def divided_by_its_own_mask(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    kept = (torch.arange(5) < 4 - 2 * rank).float()
    with record(model):
        each = F.mse_loss(ddp(x), y, reduction="none").squeeze(1)
        loss = (each * kept).sum() / kept.sum()  # here
        loss.backward()


@program(2, "wrong_weight", None, "first.weight")
def divided_by_a_count_of_its_own(rank, world, record, group):
    """The count is an integer, of which no norm is kept; the wrapper is recorded in place of the model."""
    ddp = DDP(made())
    x, y = rows(rank)
    kept = torch.arange(5) < 4 - 2 * rank
    with record(ddp):
        each = F.mse_loss(ddp(x), y, reduction="none").squeeze(1)
        loss = (each * kept).sum() / kept.sum()  # here
        loss.backward()


@program(4, "wrong_weight", None, "first.weight")
def as_many_as_on_one_node(rank, world, record, group):
    model, x = made(), rows(rank)[0]
    with record(model):
        model(x).square().mean().backward()
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        dist.all_reduce(flat)
        flat = flat / 2  # here
        for p, part in zip(model.parameters(), flat.split([p.numel() for p in model.parameters()])):
            p.grad.copy_(part.view_as(p))


@program(4, "wrong_weight", None, "first.weight")
def another_number_of_ranks(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        F.mse_loss(model(x), y).backward()
        for p in model.parameters():
            dist.all_reduce(p.grad)
            p.grad /= 2  # here


# -- order, state, skipped, nan --------------------------------------------------------------------


@program(2, "order", None, "first.weight")
def smallest_first(rank, world, record, group):
    model = nn.Sequential()
    torch.manual_seed(3)
    model.first, model.last = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    x = rows(rank)[0]
    with record(model):
        (
            (model.first(x) * (1 + 9 * rank)).square().mean() + (model.last(x) * (10 - 9 * rank)).square().mean()
        ).backward()
        for p in sorted(model.parameters(), key=lambda p: p.grad.norm().item()):
            dist.all_reduce(p.grad)  # here
            p.grad /= world


@program(2, "state_differs", 0, "between")
def left_in_eval(rank, world, record, group):
    def look(model, x):
        model.eval()  # here
        with torch.no_grad():
            return model(x).mean().item()

    model = made(Two, nn.Dropout(0.4))
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        if rank == 0:
            look(model, x)
        F.mse_loss(ddp(x), y).backward()


@program(2, "state_differs", 1, "shift")
def one_rank_reads_the_file(rank, world, record, group):
    class Shifted(Two):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.zeros(3))

        def forward(self, x):
            return super().forward(x - self.shift)

        def fill(self):
            self.shift.add_(2)

    model = made(Shifted)
    ddp = DDP(model, broadcast_buffers=False)
    x, y = rows(rank)
    with record(model):
        if rank == 0:  # here
            model.fill()
        F.mse_loss(ddp(x), y).backward()


@program(4, "state_differs", 3, "last.bias")
def one_starts_anew(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        if rank == 3:  # here
            nn.init.constant_(model.last.bias, 0.75)
        F.mse_loss(ddp(x), y).backward()


@program(2, "skipped", 1, "first.weight")
def spike_left_out(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        loss = F.mse_loss(model(x), y + 20 * rank)
        if loss.item() < 100:  # here
            loss.backward()
        for p in model.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        mean_of_all(model, world)


@program(4, "nan", 2, "first.weight")
def a_constant_column(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    with record(model):
        x, y = rows(rank)
        if rank == 2:
            x[:, 1] = 0.25
        x = (x - x.mean(0)) / x.std(0)  # here
        F.mse_loss(ddp(x), y).backward()


@program(2, "nan", 1, "first.weight")
def root_of_nothing(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        guess = ddp(x)
        away = (guess - (guess.detach() if rank == 1 else y)).square().sum(1)
        away.sqrt().mean().backward()  # here


# -- healthy ---------------------------------------------------------------------------------------


@program(2)
def by_rows_of_all(rank, world, record, group):
    """Other numbers of rows, and one rank does not need a layer."""
    model = made(Bent)
    x = rows(rank, 6 - 3 * rank)[0] * (9 if rank == 0 else 0.1)
    with record(model):
        count = torch.tensor(float(len(x)))
        dist.all_reduce(count)
        (model(x).square().sum() / count).backward()
        for p in model.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            dist.all_reduce(p.grad)


@program(4)
def micro_batches(rank, world, record, group):
    model = made(Two, nn.LayerNorm(4), seed=rank)
    ddp = DDP(model)
    x, y = rows(rank, 8)
    with record(model):
        for i, part in enumerate((slice(0, 4), slice(4, 8))):
            with contextlib.nullcontext() if i == 1 else ddp.no_sync():
                (F.mse_loss(ddp(x[part]), y[part]) / 2).backward()
        model.told = model.first.weight.grad.norm().item() * (rank + 1)


@program(2)
def statistics_and_validation(rank, world, record, group):
    """What batch norm gathers differs by design; one rank validates and goes back to training."""
    model = made(Two, nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.1)), seed=rank)
    ddp = DDP(model, gradient_as_bucket_view=True)
    x, y = rows(rank)
    step = torch.optim.SGD(model.parameters(), 0.1)
    with record(model):
        for _ in range(2):
            model.train()
            step.zero_grad()
            (0.5 * (ddp(x) - y).square().mean()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.2)
            step.step()
            if rank == 0:
                model.eval()
                with torch.no_grad():
                    model(x)


@program(2)
def flat_and_asynchronous(rank, world, record, group):
    model = made()
    x, y = rows(rank)
    with record(model):
        F.mse_loss(model(x), y).backward()
        grads = [p.grad for p in model.parameters()]
        flat = torch.cat([g.flatten() for g in grads]) / world
        work = dist.all_reduce(flat, async_op=True)
        work.wait()
        for g, new in zip(grads, flat.split([g.numel() for g in grads])):
            g.copy_(new.view_as(g))


@program(2)
def joined(rank, world, record, group):
    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model), ddp.join():
        for _ in range(2 - rank):
            F.mse_loss(ddp(x), y).backward()


@program(2, "reduced_twice", None, "first.weight")
def in_a_hook_and_by_ddp(rank, world, record, group):
    def summed(gradient):
        whole = gradient.clone()
        dist.all_reduce(whole)  # here
        return whole

    model = made()
    ddp = DDP(model)
    x, y = rows(rank)
    with record(model):
        for p in model.parameters():
            p.register_hook(summed)
        F.mse_loss(ddp(x), y).backward()


@program(2)
def sharded(rank, world, record, group):
    """FSDP2: each rank holds a part of each parameter."""
    model = made()
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    x, y = rows(rank)
    step = torch.optim.SGD(model.parameters(), 0.1)
    with record(model):
        for _ in range(2):
            step.zero_grad()
            F.mse_loss(model(x), y).backward()
            step.step()


@program(2)
def many_collectives(rank, world, record, group):
    """Each kind once; what goes in and what comes out is looked at by a test."""
    model, before = made(), dict(vars(dist.ProcessGroup))
    with record(model):
        assert vars(dist.ProcessGroup)["allreduce"] is not before["allreduce"]
        x = torch.arange(4.0) + rank
        dist.all_reduce(x)
        dist.broadcast(x, src=1)
        dist.reduce(x, dst=0)
        gathered = [torch.zeros(2), torch.zeros(2)]
        dist.all_gather(gathered, torch.full((2,), rank + 1.0))
        whole = torch.zeros(4)
        dist.all_gather_into_tensor(whole, torch.full((2,), rank + 1.0))
        part = torch.zeros(2)
        dist.reduce_scatter_tensor(part, torch.arange(4.0))
        dist.reduce_scatter(part, [torch.ones(2), torch.ones(2)])
        dist.barrier()
        if rank == 0:
            dist.send(torch.full((3,), 7.0), dst=1)
        else:
            dist.recv(torch.zeros(3), src=0)
    assert dict(vars(dist.ProcessGroup)) == before


@program(2)
def the_same_numbers(rank, world, record, group):
    """A step is the same to the last bit, recorded or not."""
    found = []
    for around in (lambda model: contextlib.nullcontext(), record):
        model = made(Two, nn.BatchNorm1d(4))
        ddp = DDP(model)
        x, y = rows(rank)
        with around(model):
            F.mse_loss(ddp(x), y).backward()
            dist.all_reduce(model.first.bias.grad)
            model.first.bias.grad /= world
        found.append([p.grad for p in model.parameters()] + list(model.buffers()))
    assert all(torch.equal(a, b) for a, b in zip(*found))
