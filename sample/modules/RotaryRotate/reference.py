import torch
import torch.nn as nn


class RotaryRotate(nn.Module):
    """Apply a rotary embedding to the last dimension (half-split layout)."""

    def rotate_half(self, x):
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((-x2, x1), dim=-1)

    def forward(self, x, cos, sin):
        return x * cos + self.rotate_half(x) * sin


def get_inputs():
    return [torch.randn([2, 3, 5, 8]), torch.rand([5, 8]), torch.rand([5, 8])]


def get_init_inputs():
    return [[], {}]
