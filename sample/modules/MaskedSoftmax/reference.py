import torch
import torch.nn as nn


class MaskedSoftmax(nn.Module):
    """Softmax over the positions where mask is 1, as used in AllenNLP-like readers."""

    def __init__(self, eps=1e-13):
        super().__init__()
        self.eps = eps

    def forward(self, vector, mask):
        result = torch.softmax(vector * mask, dim=-1)
        result = result * mask
        return result / (result.sum(dim=-1, keepdim=True) + self.eps)


def get_inputs():
    return [torch.rand([5, 4, 19]) * 4, (torch.rand([5, 4, 19]) > 0.3).float()]


def get_init_inputs():
    return [[], {}]
