"""Text from elsewhere as a title: what it says is what is read."""

from __future__ import annotations

TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # unseen, they turn the text after them around


def straight(text: str) -> str:
    """Without those signs: a `gpj.exe` that reads as `exe.jpg` is told by its own name."""
    return text.translate(dict.fromkeys(TURNING))
