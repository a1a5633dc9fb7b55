import torch
import torch.nn as nn


class PolarTransform(nn.Module):
    """Split a real/imaginary pair in the last dimension into magnitude and phase cosine."""

    def __init__(self, eps=1e-6):
        super().__init__()
        self.eps = eps

    def forward(self, z):
        re = z[..., 0]
        im = z[..., 1]
        mag = torch.sqrt(re ** 2 + im ** 2 + self.eps)
        return mag, re / mag


def get_inputs():
    return [torch.randn([3, 11, 5, 2])]


def get_init_inputs():
    return [[], {}]
