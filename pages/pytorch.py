"""PyTorch: a run of real autograd, step by step, and what is wrong with the second derivative of its Functions."""

from simplegrad.view.player.pytorch import pytorch_page

pytorch_page()
