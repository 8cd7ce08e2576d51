"""One mistake in a rule is told under one of its codes on both subjects, and the right rule is correct."""

import pytest
import torch

from simplegrad import Variable, check
from tests.checks.collection.rules import RULES

torch.set_num_threads(1)


def reports(pair, inputs):
    aggregate, function = pair
    yield check(aggregate, *(Variable.constant(x.clone()) for x in inputs))
    yield check(function.apply, *(x.double().clone().requires_grad_() for x in inputs))


@pytest.mark.parametrize("name", RULES)
def test_the_mistake_is_told_and_the_right_rule_is_correct(name):
    codes, inputs, broken, right = RULES[name]
    for report in reports(broken, inputs):
        assert report.verdict in codes, str(report)
    for report in reports(right, inputs):
        assert report.verdict == "correct", str(report)
