"""Hand-written `torch.autograd.Function`s to look at, each in a file as a person would write it, with its `case()`."""
