"""What torch.nn's recurrent layers call, and its attention of several heads: made of operators of the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .algebra import linear
from .calls import UnsupportedError, called, composed, raw
from .joining import cat, stack
from .networks import dropout
from .shapes import pad

# --- recurrent layers --------------------------------------------------------------------------------------------
#
# A step is given what the input says, (batch, gates * hidden), the states (h, …), and the weights of the states; it
# returns the next states.


def lstm_step(given, states: tuple, w_hh, b_hh, w_hr=None) -> tuple:
    h, c = states
    i, f, g, o = (given + linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if w_hr is None else h @ w_hr.t()), c


def gru_step(given, states: tuple, w_hh, b_hh) -> tuple:
    (h,) = states
    (r, z, n), (r_h, z_h, n_h) = given.chunk(3, -1), linear(h, w_hh, b_hh).chunk(3, -1)
    n, z = (n + (r + r_h).sigmoid() * n_h).tanh(), (z + z_h).sigmoid()
    return (n + z * (h - n),)


def tanh_step(given, states: tuple, w_hh, b_hh) -> tuple:
    return ((given + linear(states[0], w_hh, b_hh)).tanh(),)


def relu_step(given, states: tuple, w_hh, b_hh) -> tuple:
    return ((given + linear(states[0], w_hh, b_hh)).relu(),)


STEPS: dict[str, Callable] = {"lstm": lstm_step, "gru": gru_step, "rnn_tanh": tanh_step, "rnn_relu": relu_step}


def walked(step: Callable, x, states: tuple, weights: Sequence, has_biases: bool, backwards: bool) -> tuple:
    """One layer in one direction, over x of shape (time, batch, size): h at each time, and the states at the end."""
    w_ih, w_hh, *rest = weights
    b_ih, b_hh, *rest = rest if has_biases else (None, None, *rest)
    given, found = linear(x, w_ih, b_ih), []
    for t in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
        states = step(given[t], states, w_hh, b_hh, *rest)
        found.append(states[0])
    return stack(found[::-1] if backwards else found, 0), states


def recurrent(name: str) -> Callable:
    """torch.lstm, torch.gru, …: x of shape (time, batch, size), the states of shape (layers * directions, batch, size);
    gives h of the last layer at each time, and the last states."""

    def layers(x, hx, params, has_biases, num_layers, dropout_p, train, bidirectional, batch_first=False):
        if isinstance(has_biases, (list, tuple)):
            raise UnsupportedError(
                f"{name}: packed sequences are not there on Variables. Give the padded one, and mask its end."
            )
        x, states = x.transpose(0, 1) if batch_first else x, hx if isinstance(hx, (list, tuple)) else (hx,)
        directions = 2 if bidirectional else 1
        size, ends = len(params) // (num_layers * directions), []
        for layer in range(num_layers):
            if layer and train:
                x = dropout(x, dropout_p)
            outputs = []
            for at in range(layer * directions, (layer + 1) * directions):
                weights, own = params[at * size : (at + 1) * size], tuple(each[at] for each in states)
                output, end = walked(STEPS[name], x, own, weights, has_biases, at % directions == 1)
                outputs.append(output)
                ends.append(end)
            x = cat(outputs, -1) if bidirectional else outputs[0]
        return x.transpose(0, 1) if batch_first else x, *[stack(each, 0) for each in zip(*ends)]

    return called(name, layers)


def cell(name: str) -> Callable:
    """torch.lstm_cell, torch.gru_cell, …: one step."""

    def one(x, hx, w_ih, w_hh, b_ih=None, b_hh=None):
        states = tuple(hx) if isinstance(hx, (list, tuple)) else (hx,)
        found = STEPS[name](linear(x, w_ih, b_ih), states, w_hh, b_hh)
        return found if len(found) > 1 else found[0]

    return called(f"{name}_cell", one)


for _name in STEPS:
    composed(recurrent(_name))
    composed(cell(_name))


# --- attention of several heads ----------------------------------------------------------------------------------


@composed
def multi_head_attention_forward(
    query, key, value, embed_dim_to_check, num_heads: int, in_proj_weight, in_proj_bias, bias_k, bias_v,
    add_zero_attn: bool, dropout_p: float, out_proj_weight, out_proj_bias, training: bool = True,
    key_padding_mask=None, need_weights: bool = True, attn_mask=None, use_separate_proj_weight: bool = False,
    q_proj_weight=None, k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None,
    average_attn_weights: bool = True, is_causal: bool = False,
):  # fmt: skip
    """(result, weights) of query (time, batch, size), key and value (places, batch, size); all three may lack a batch.

    Of a mask, True hides, and a float is added.
    """
    if static_k is not None or static_v is not None:
        raise UnsupportedError("multi_head_attention_forward takes no static_k and no static_v on Variables.")
    if is_causal and attn_mask is None:
        raise UnsupportedError("multi_head_attention_forward(…, is_causal=True) wants the mask too, attn_mask=….")
    if query.ndim == 2:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        hidden = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        is_single = True
    else:
        hidden, is_single = key_padding_mask, False
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    projections = separate if use_separate_proj_weight else in_proj_weight.chunk(3)
    q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), projections, biases))
    k, v = (lengthened(x, bias, add_zero_attn) for x, bias in ((k, bias_k), (v, bias_v)))
    q, k, v = (by_head(x, num_heads) for x in (q, k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    scores = hiding(scores, attn_mask if attn_mask is None or attn_mask.ndim == 2 else attn_mask.reshape(scores.shape))
    scores = hiding(scores, None if hidden is None else hidden.unsqueeze(1).unsqueeze(1))
    weights = dropout(scores.softmax(-1), dropout_p, training)
    found = (weights @ v).movedim((0, 1, 2, 3), (1, 2, 0, 3))
    found = linear(found.reshape(*found.shape[:2], -1), out_proj_weight, out_proj_bias)
    weights = weights.mean(1) if average_attn_weights else weights
    found, weights = (found.squeeze(1), weights.squeeze(0)) if is_single else (found, weights)
    return found, weights if need_weights else None


def by_head(x, heads: int):
    """(time, batch, size) as (batch, head, time, size of a head)."""
    return x.reshape(*x.shape[:2], heads, x.shape[-1] // heads).permute(1, 2, 0, 3)


def lengthened(x, bias, with_zeros: bool):
    """One place more for a bias, and one of zeros, where they are asked for."""
    if bias is not None:
        x = cat([x, bias.expand(1, x.shape[1], -1)], 0)
    return pad(x, (0, 0, 0, 0, 0, 1)) if with_zeros else x


def hiding(scores, mask):
    """A mask that is shorter than the scores hides nothing of what was added behind."""
    if mask is None:
        return scores
    more = scores.shape[-1] - mask.shape[-1]
    mask = torch.nn.functional.pad(mask, (0, more)) if more else mask
    return scores.masked_fill(raw(mask), -math.inf) if mask.dtype == torch.bool else scores + mask
