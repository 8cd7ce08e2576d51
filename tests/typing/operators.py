"""Operators and methods of Variable as mypy and an editor see them; nothing runs this file."""

from typing import assert_type

import torch

from simplegrad import Variable, grad

a = Variable.constant(torch.rand(4), name="a")
b = Variable(torch.rand(4))
assert_type(a + b, Variable)
assert_type(a * 2.0 - b / 3, Variable)
assert_type(a @ b, Variable)
assert_type(-a, Variable)
assert_type((a * b).sum(name="L"), Variable)
assert_type(a.exp().tanh().reshape(2, 2).transpose(0, 1), Variable)
assert_type(a.mean(dim=0, keepdim=True), Variable)
assert_type(grad((a * b).sum(), [a, b]), list[Variable | None])
