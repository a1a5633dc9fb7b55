import math

import torch
import torch.nn as nn


class ScaledBmm(nn.Module):
    """Attention scores: q k^T / sqrt(d)."""

    def __init__(self, d_k):
        super().__init__()
        self.scale = 1.0 / math.sqrt(d_k)

    def forward(self, q, k):
        return torch.bmm(q, k.transpose(1, 2)) * self.scale


def get_inputs():
    return [torch.rand([3, 18, 20]), torch.rand([3, 25, 20])]


def get_init_inputs():
    return [[20], {}]
