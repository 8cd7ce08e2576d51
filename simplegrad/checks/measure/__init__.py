"""Gradients held against differences of values: one slope, one look, the points where to look, kinks."""
