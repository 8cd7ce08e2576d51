import pytest
import torch


@pytest.fixture
def float64():
    """Floats of 64 bits for the test, so that a difference is a wrong rule and not a rounding error."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
