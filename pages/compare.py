"""Compare: an aggregate beside its reference; the first place where they part, and the pathway that is missing."""

from simplegrad.view.player.compare import compare_page

compare_page()
