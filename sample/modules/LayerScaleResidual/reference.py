import torch
import torch.nn as nn


class LayerScaleResidual(nn.Module):
    """x + gamma * branch, with a per-channel gamma (channels last)."""

    def __init__(self, dim, init_value=0.1):
        super().__init__()
        self.gamma = nn.Parameter(init_value * torch.ones(dim))

    def forward(self, x, branch):
        return x + self.gamma * branch


def get_inputs():
    return [torch.rand([3, 12, 9]).transpose(1, 2), torch.rand([3, 9, 12])]


def get_init_inputs():
    return [[], {'dim': 12, 'init_value': 0.3}]
