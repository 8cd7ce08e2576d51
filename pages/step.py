"""Step: choose a program, run it, and walk through its forward part and its passes, event by event."""

from simplegrad.view.player.step import step_page

step_page()
