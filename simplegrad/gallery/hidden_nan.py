"""A norm that is 0 at one row: where hides that from the forward part, and the backward finds 0 divided by 0."""

import torch


def direction(x):
    length = x.square().sum(-1, keepdim=True).sqrt()
    unit = x / length.clamp(min=1e-12)
    return torch.where(length > 0, unit, torch.zeros_like(x))


def case():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.double, requires_grad=True)
    return direction, (x,)
