"""Compile: an expression becomes an aggregate, with a body of propagate for each pattern of Nones."""

from simplegrad.view.player.compile import compile_page

compile_page()
