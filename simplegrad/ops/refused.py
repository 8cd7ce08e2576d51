"""What torch has and Variables have not: what a message says of it, and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import torch

COMPLEX = "its results are complex, and the engine computes with real numbers alone"
RANDOM = "it draws numbers. Draw them with torch, from x.value, and use them as a constant"
FACTORS = "of factors there are cholesky, qr, svd and eigh; of what one does with them solve, inv and det"

REASONS: dict[str, str] = {
    r"grad|backward": "gradients of Variables are simplegrad's: da, db = simplegrad.grad(L, [a, b])",
    r"fft_.*|i?stft|.*eigvals|linalg_eig|eig|complex|polar|view_as_(complex|real)|imag|angle|cfloat|cdouble": COMPLEX,
    r"bernoulli|normal|multinomial|poisson|binomial|(feature_)?(alpha_)?dropout\d?d?|fractional_.*|rand.*": RANDOM,
    r"_pack_padded_sequence|_pad_packed_sequence": "give the padded sequence, and mask its end",
    r"(linalg_)?(lu|ldl)(_.*)?|geqrf|ormqr|orgqr|linalg_householder_product": FACTORS,
    r"as_strided.*": "a part is taken by an index, reshape, permute or unfold",
    r"ctc_loss": "write the sum over alignments with logsumexp",
    r".*_": "a value never changes: the function without _ gives a new one",
    r"nextafter|heaviside|histc|frexp|bincount": "it has no derivative that is of use; of x.value it gives a constant",
    r"sparse.*|.*sparse": "the engine's tensors are dense",
}


def spelled(name: str) -> str:
    """torch.fft.fft of `fft_fft`, which is what torch calls it."""
    module, _, rest = name.partition("_")
    if module in ("fft", "linalg", "special") and rest:
        return f"torch.{module}.{rest}"
    places = {"torch": torch, "torch.autograd": torch.autograd, "torch.nn.functional": torch.nn.functional}
    return next((f"{where}.{name}" for where, module in places.items() if hasattr(module, name)), name)


def reason_of(name: str) -> str:
    """Why it is not there, or ""."""
    return next((reason for pattern, reason in REASONS.items() if re.fullmatch(pattern, name)), "")


def advice(name: str, known: Iterable[str]) -> str:
    """What to write instead: by the reason that it is not there, else the nearest names."""
    reason = reason_of(name)
    if reason:
        return f"{reason[0].upper()}{reason[1:]}."
    near = difflib.get_close_matches(name.removeprefix("linalg_").removeprefix("special_"), known, 3, 0.6)
    said = f"The nearest that are there: {', '.join(near)}." if near else ""
    return f"{said} It can be made of those that are, or written as an aggregate, with TapeEntry.".lstrip()
