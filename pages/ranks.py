"""Ranks: the traces of all processes of one run, side by side: which rank is at fault first, and at which line."""

from simplegrad.view.player.ranks import ranks_page

ranks_page()
