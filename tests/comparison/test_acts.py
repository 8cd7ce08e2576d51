"""Two training runs that part in what is done to a parameter: the act and its line are named, not who reads it next."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simplegrad import compare, record_torch

STEPS = """
def run(record):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    x, y = torch.randn(3, 8, 4), torch.randint(0, 3, (3, 8))
    with record(model) as trace:
        for i in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
    return trace
"""


def trace_of(text: str):
    space = {"torch": torch, "nn": nn, "F": F}
    exec(compile(text, "<steps>", "exec"), space)
    return space["run"](record_torch)


def parting(old: str, new: str):
    assert old in STEPS
    found = compare(trace_of(STEPS), trace_of(STEPS.replace(old, new))).divergence
    if found is None:
        return None, "", ""
    line = STEPS.replace(old, new).splitlines()[found.right_place.first - 1].strip()
    return found.where, line, found.sentence


STEP = "            optimizer.step()\n"


@pytest.mark.parametrize(
    "old, new, line, said",
    [
        ("lr=0.1", "lr=0.01", "optimizer.step()", "SGD moves with lr=0.01 instead of 0.1"),
        ("gamma=0.5", "gamma=0.1", "optimizer.step()", "lr=0.01 instead of 0.05"),
        ("lr=0.1", "lr=0.1, weight_decay=0.3", "optimizer.step()", "weight_decay=0.3 instead of 0"),
        ("torch.optim.SGD(model.", "torch.optim.SGD(model[3].", "optimizer.step()", "does not hold it"),
        ("(model.parameters(), 0.5)", "(model.parameters(), 0.05)", "nn.utils.clip_grad_norm_(", "clipped to another"),
        ("            nn.utils.clip_grad_norm_(model.parameters(), 0.5)\n", "", "optimizer.step()", "on the left only"),
        (STEP, STEP + STEP, "optimizer.step()", "moves on the right only"),
        (STEP, STEP + "            model[0].weight.data.mul_(0.9)\n", "model[0].weight.data.mul_(0.9)", "in place"),
        (STEP, "            optimizer.zero_grad()\n" + STEP, "optimizer.zero_grad()", "on the right"),
    ],
)
def test_what_is_done_to_a_parameter_in_another_way_is_named_at_its_own_line(old, new, line, said):
    where, at, sentence = parting(old, new)
    assert where == "forward" and at.startswith(line), sentence
    assert said in sentence


def test_a_pass_that_begins_with_another_gradient_of_its_loss_is_told_there():
    """Clipping makes the same of both, so nothing that follows shows it."""
    where, line, sentence = parting("loss.backward()", "loss.backward(torch.tensor(2.0))")
    assert (where, line) == ("backward pass 1", "loss.backward(torch.tensor(2.0))")
    assert "norm 2 instead of 1" in sentence


def test_a_last_step_with_other_settings_is_told_though_nothing_reads_its_result():
    where, line, sentence = parting("for i in range(3)", "for i in range(3)")
    assert where is None
    old = STEPS.replace("range(3)", "range(1)")
    found = compare(trace_of(old), trace_of(old.replace("lr=0.1", "lr=0.2"))).divergence
    assert found.sentence == "Forward: after the last result that is compared, SGD moves with lr=0.2 instead of 0.1."


def test_a_loss_without_its_factor_is_told_in_the_forward_part():
    where, line, sentence = parting("model(x[i]), y[i])\n", "model(x[i]), y[i]) / 4\n")
    assert where == "forward" and "div" in sentence and line.endswith("/ 4")


def test_a_module_that_evaluates_in_one_run_is_told_as_that():
    where, line, sentence = parting("    with record(model)", "    model.eval()\n    with record(model)")
    assert "runs in eval mode on the right, in train mode on the left" in sentence


def test_a_frozen_parameter_is_named():
    off = "model[0].weight.requires_grad_(False)"
    where, line, sentence = parting("    with record(model)", f"    {off}\n    with record(model)")
    assert where == "backward pass 1" and "0.weight, which requires none" in sentence


def test_the_same_by_other_means_agrees():
    by_hand = "            for p in model.parameters():\n                p.grad = None\n"
    assert parting("            optimizer.zero_grad()\n", by_hand) == (None, "", "")
    assert parting("lr=0.1, momentum=0.9", "lr=0.1, momentum=0.9, foreach=False") == (None, "", "")
    plain = STEPS.replace(", momentum=0.9", "")
    for named in ("SGD(model.named_parameters()", "SGD(model.parameters(), dampening=0.5"):
        assert compare(trace_of(plain), trace_of(plain.replace("SGD(model.parameters()", named))).agrees


def test_an_early_step_with_other_settings_that_moved_nothing_is_not_called_the_last():
    old = STEPS.replace(
        "            nn.utils.clip_grad_norm_",
        "            model.zero_grad(set_to_none=i == 0)\n            nn.utils.clip_grad_norm_",
    )
    old = old.replace(
        "            loss.backward()\n            model.zero_grad(set_to_none=i == 0)",
        "            loss.backward()\n            if i == 0:\n                model.zero_grad()",
    )
    new = old.replace("lr=0.1", "lr=0.2").replace(
        "            optimizer.step()\n",
        "            optimizer.step()\n            optimizer.param_groups[0]['lr'] = 0.1\n",
    )
    old = old.replace(
        "            optimizer.step()\n",
        "            optimizer.step()\n            optimizer.param_groups[0]['lr'] = 0.1\n",
    )
    found = compare(trace_of(old), trace_of(new)).divergence
    assert found.sentence == "Forward: without effect on what is compared, SGD moves with lr=0.2 instead of 0.1."


def test_a_call_is_noted_though_a_gradient_is_sparse():
    rows, layer = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)
    with record_torch() as trace:
        for _ in range(2):
            layer(rows(torch.tensor([0, 1]))).sum().backward()
            for p in layer.parameters():
                p.data.add_(p.grad, alpha=-0.1)
    assert not any("could not be noted" in notice for notice in trace.notices)
    assert sum(call.name == "add_" for call in trace.calls) == 4


GAN = """
def run(record):
    torch.manual_seed(0)
    maker, critic = nn.Linear(3, 4), nn.Linear(4, 1)
    z = torch.randn(5, 3)
    with record(maker, critic) as trace:
        fake = maker(z).clamp(-3, 3)
        critic(fake.detach()).square().mean().backward()
        critic(fake).square().mean().backward()
    return trace
"""


def test_what_an_earlier_pass_does_not_reach_is_still_earlier():
    """The maker's operations are known to autograd by the second pass alone; they parted before the first began."""
    found = compare(trace_of(GAN), trace_of(GAN.replace("clamp(-3, 3)", "clamp(-0.1, 0.1)"))).divergence
    assert (found.where, found.op) == ("forward", "Clamp")


def test_a_loss_that_one_run_goes_back_from_twice_is_one_pass_more():
    twice = "loss.backward(retain_graph=True)\n            loss.backward()"
    where, line, sentence = parting("loss.backward()", twice)
    assert (where, sentence) == ("backward pass 2", "Backward pass 2: runs on the right only.".replace(":", "", 1))


def test_what_stands_on_one_side_only_is_told_where_its_result_would_be_read():
    gated = """
def run(record):
    torch.manual_seed(0)
    a, b = nn.Linear(3, 4), nn.Linear(4, 4)
    x = torch.randn(5, 3)
    with record(a, b) as trace:
        h = a(x)
        g = b(h).sigmoid()
        g = g / g.sum(1, keepdim=True)
        k = h.exp()
        (g * k).sum().backward()
    return trace
"""
    without = gated.replace("        g = g / g.sum(1, keepdim=True)\n", "")
    found = compare(trace_of(gated), trace_of(without)).divergence
    assert (found.where, found.how) == ("forward", "missing")
    assert without.splitlines()[found.right_place.first - 1].strip() == "(g * k).sum().backward()"
