"""Real PyTorch: record what autograd does as a Trace."""

from simplegrad.torch_bridge.record import record_torch

__all__ = ["record_torch"]
