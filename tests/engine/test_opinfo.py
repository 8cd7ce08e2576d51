"""A few of PyTorch's own samples for each operator that Variables have (all of them: python -m tests.engine.opinfo)."""

import warnings

import pytest
import torch

from .opinfo import judged, ours

# Where torch and we part over infinities and NaN alone, or a form is refused: `linalg.norm` of matrices by their
# singular values, padding by reflection.
REFUSED = ("unsupported", "no reference", "nonfinite")


@pytest.mark.parametrize("info", ours(), ids=lambda info: f"{info.name} {info.variant_test_name}".strip())
def test_samples_of_torch(info):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = judged(info, every=11, dtypes=(torch.float64,))
    assert not [key for key in found if key != "right" and not key.startswith(REFUSED)], found
