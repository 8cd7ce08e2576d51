"""Runs of somebody's code: each from the same state and random numbers, watched line by line where that is asked."""
