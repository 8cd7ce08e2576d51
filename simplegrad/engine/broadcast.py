"""Undoing broadcasting: the gradient of a Variable has that Variable's shape, at every order.

Done when a gradient is read or added to, not when it arrives, so that nothing is summed that nobody wants. Gradients
are Variables or, in a deferred pass, tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from .tape import Key


def gradients(dL_d: dict, keys: Sequence[Key], broadcast: dict) -> list:
    """What the table has for these, in their shapes."""
    if not broadcast:
        return [dL_d.get(key) for key in keys]
    return [fitted(broadcast, dL_d.get(key), key) for key in keys]


def added(broadcast: dict, total, contribution, key: Key):
    return fitted(broadcast, total, key) + fitted(broadcast, contribution, key)


def fitted(broadcast: dict, gradient, key: Key):
    """The gradient in the shape of the Variable it belongs to: where forward broadcast that, sum what was repeated."""
    shape = broadcast.get(key)
    if shape is None or gradient is None or gradient.shape == shape:
        return gradient
    return gradient.sum_to_size(shape)
