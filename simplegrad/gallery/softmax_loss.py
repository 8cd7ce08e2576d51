"""A cross-entropy that keeps its softmax: its gradient is softmax minus target, and softmax depends on the scores."""

import torch
from torch.autograd import Function
from torch.nn.functional import one_hot


class SoftmaxLoss(Function):
    @staticmethod
    def forward(ctx, scores, labels):
        chance = torch.softmax(scores, -1)
        target = one_hot(labels, scores.shape[-1])
        ctx.save_for_backward(chance, target)
        return -chance.gather(-1, labels[:, None]).log().mean()

    @staticmethod
    def backward(ctx, dL_dloss):
        chance, target = ctx.saved_tensors
        return dL_dloss * (chance - target) / len(target), None


def case():
    scores = torch.tensor([[0.2, -1.0, 0.7], [1.5, 0.1, -0.4]], dtype=torch.double, requires_grad=True)
    return SoftmaxLoss.apply, (scores, torch.tensor([2, 0]))
