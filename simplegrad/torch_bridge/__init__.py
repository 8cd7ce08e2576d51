"""Real PyTorch: check the second derivative of custom Functions, and record what autograd does as a Trace."""

from simplegrad.torch_bridge.check import check_function
from simplegrad.torch_bridge.record import record_torch

__all__ = ["check_function", "record_torch"]
