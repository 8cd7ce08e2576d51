"""A few of PyTorch's own samples for each operator that Variables have, to order 3.

All of them: SIMPLEGRAD_FULL=1, or python -m tests.engine.opinfo.
"""

import os
import warnings

import pytest
import torch
import torch.nn.functional as F

from simplegrad import Tape

from .opinfo import judged, ours
from .test_operators import assert_same_orders, our_orders, torch_orders, weights

# Where torch and we part over infinities and NaN alone, or a form is refused: `linalg.norm` of matrices by their
# singular values, padding by reflection.
REFUSED = ("unsupported", "no reference", "nonfinite")
EVERY = 1 if "SIMPLEGRAD_FULL" in os.environ else 11


@pytest.mark.parametrize("info", ours(), ids=lambda info: f"{info.name} {info.variant_test_name}".strip())
def test_samples_of_torch(info):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = judged(info, EVERY, dtypes=(torch.float64,), orders=3)
    assert not [key for key in found if key != "right" and not key.startswith(REFUSED)], found


def normal(x, dims):
    away = x - x.mean(dims, keepdim=True)
    return away / (away.square().mean(dims, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize(
    "native, dims",
    [
        (lambda x: F.layer_norm(x, (3,)), (2,)),
        (lambda x: F.batch_norm(x, None, None, training=True), (0, 2)),
        (lambda x: F.instance_norm(x), (2,)),
    ],
)
def test_the_third_derivative_of_a_normalisation_is_right(native, dims):
    """torch's own is not: its second derivative takes the mean and the variance for constants."""
    x = [weights((2, 2, 3))]
    true = torch_orders(lambda x: normal(x, dims), x)
    with Tape():
        assert_same_orders(our_orders(native, x), true)
    assert not torch.allclose(torch_orders(native, x)[2][0], true[2][0], rtol=1e-2)
