"""torch.nn's recurrent layers and its attention on Variables: values and gradients of order 1 and 2 are torch's."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from simplegrad import Tape, Variable
from tests.engine.test_operators import assert_same_orders, our_orders, torch_orders

X, H = (3, 2, 4), (1, 2, 4)
MASK = torch.ones(3, 3).triu(1).bool()
PADDED = torch.tensor([[False, False, True], [False, False, False]])


def attended(layer: nn.Module, **options) -> Callable:
    return lambda x: joined(layer(x, x, x, **options))


def joined(results) -> object:
    """All results in one, each element of which counts."""
    if not isinstance(results, tuple):
        return results.reshape(-1)
    return torch.cat([joined(r) for r in results if r is not None])


def whole(layer: nn.Module) -> Callable:
    return lambda *inputs: joined(layer(*inputs))


def with_states(layer: nn.Module) -> Callable:
    return lambda x, *states: joined(layer(x, states if len(states) > 1 else states[0]))


def first(layer: nn.Module) -> Callable:
    return lambda x: layer(x)[0]


WIDE = {"dtype": torch.float64}
LAYERS: dict[str, tuple[Callable, list[tuple]]] = {
    "LSTM": (with_states(nn.LSTM(4, 4, **WIDE)), [X, H, H]),
    "LSTM, two ways": (first(nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True, **WIDE)), [X]),
    "LSTM, projected": (first(nn.LSTM(4, 5, proj_size=2, bias=False, **WIDE)), [X]),
    "GRU": (with_states(nn.GRU(4, 4, **WIDE)), [X, H]),
    "GRU, no batch": (first(nn.GRU(4, 3, num_layers=2, **WIDE)), [(3, 4)]),
    "RNN": (first(nn.RNN(4, 3, bidirectional=True, **WIDE)), [X]),
    "RNN, relu": (first(nn.RNN(4, 3, nonlinearity="relu", **WIDE)), [X]),
    "LSTMCell": (with_states(nn.LSTMCell(4, 4, **WIDE)), [X[1:], H[1:], H[1:]]),
    "GRUCell": (nn.GRUCell(4, 4, **WIDE), [X[1:], H[1:]]),
    "RNNCell": (nn.RNNCell(4, 4, **WIDE), [X[1:], H[1:]]),
    "weights of an LSTM": (
        lambda x, h, *weights: joined(torch.lstm(x, (h, h), weights, False, 1, 0.0, False, False, False)),
        [X, H, (16, 4), (16, 4)],
    ),
    "attention": (whole(nn.MultiheadAttention(4, 2, **WIDE)), [X, X, X]),
    "attention, masked": (attended(nn.MultiheadAttention(4, 2, **WIDE), attn_mask=MASK, key_padding_mask=PADDED), [X]),
    "attention, added": (
        attended(nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True, **WIDE), attn_mask=MASK),
        [X],
    ),
    "attention, one": (attended(nn.MultiheadAttention(4, 2, bias=False, **WIDE), average_attn_weights=False), [(3, 4)]),
    "attention, sizes": (whole(nn.MultiheadAttention(4, 2, kdim=3, vdim=5, **WIDE)), [X, (2, 2, 3), (2, 2, 5)]),
    "encoder": (nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True, **WIDE), [X]),
    "decoder": (nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0, **WIDE), [X, X]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_torchs(name):
    layer, shapes = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator, **WIDE) for shape in shapes]
    with sdpa_kernel(SDPBackend.MATH), Tape():  # the one of torch's kernels that has a second derivative
        torch.testing.assert_close(layer(*map(Variable.constant, tensors)).value.detach(), layer(*tensors).detach())
        assert_same_orders(our_orders(layer, tensors, orders=2), torch_orders(layer, tensors, orders=2))


def test_packed_sequences_are_refused():
    packed = nn.utils.rnn.pack_padded_sequence(torch.rand(3, 2, 4), [3, 2])
    h = Variable.constant(torch.rand(1, 2, 4))
    with pytest.raises(TypeError, match="gru: packed sequences are not there on Variables. Give the padded one"):
        nn.GRU(4, 4)(packed, h)
