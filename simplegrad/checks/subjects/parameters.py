"""Parameters of a module under check, which are differentiated like its inputs and named by their paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

MOST = 16  # of one module; of more, some of all depths


class Parameters:
    """The parameters of a module that require grad, shared ones once; none of what is no module.

    The module's own objects are the leaves, with other numbers in them: a checkpoint that runs a part of the module
    anew, and a layer that keeps its parameters in a list as well, then see the same.
    """

    def __init__(self, fn: Callable) -> None:
        found = list(fn.named_parameters()) if isinstance(fn, torch.nn.Module) else []
        lazy = torch.nn.parameter.UninitializedTensorMixin
        known = [(name, x) for name, x in found if x.requires_grad and x.is_leaf and not isinstance(x, lazy)]
        known = [(name, x) for name, x in known if x.layout is torch.strided and not x.is_meta and x.numel()]
        self.count = len(known)
        chosen = known if len(known) <= MOST else [known[k * len(known) // MOST] for k in range(MOST)]
        self.names, self.leaves = [name for name, _ in chosen], [x for _, x in chosen]

    @property
    def values(self) -> list[torch.Tensor]:
        return [x.detach().clone() for x in self.leaves]

    def put(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The leaves, holding these numbers."""
        with torch.no_grad():
            for leaf, value in zip(self.leaves, values, strict=True):
                if not torch.equal(leaf, value):
                    leaf.copy_(value)
        return self.leaves
