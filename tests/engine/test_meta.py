"""Tensors that have shapes and no numbers."""

import torch

from simplegrad import Tape, Variable, grad, record


def test_a_pass_over_tensors_on_the_meta_device():
    with torch.device("meta"), Tape():
        a = Variable(torch.ones(2))
        (g,) = grad((a * 7.125 + 3.5).sum(), [a])
        (h,) = grad((g * a).sum(), [a])
    assert g.value.is_meta and g.value.shape == h.value.shape == (2,)
    with torch.device("meta"), record() as trace:
        a = Variable(torch.ones(2))
        grad((a * a).sum(), [a])
    assert "mul" in trace.transcript() or " * " in trace.transcript()
