"""The ranks of one run side by side: which of them is at fault first, in what, and at which line."""

from .compare import RankReport, compare_ranks

__all__ = ["RankReport", "compare_ranks"]
