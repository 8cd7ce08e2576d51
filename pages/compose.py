"""Compose: write a program in the notebook's own language, and see its tape and its errors as you type."""

from simplegrad.view.player.compose import compose_page

compose_page()
