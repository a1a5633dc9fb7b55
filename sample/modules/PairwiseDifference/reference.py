import torch
import torch.nn as nn


class PairwiseDifference(nn.Module):
    """|a_i - b_j| for all pairs of rows, with a learned temperature."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1) * 2.0)

    def forward(self, a, b):
        diff = (a.unsqueeze(2) - b.unsqueeze(1)).abs()
        return torch.exp(-diff / self.temperature)


def get_inputs():
    return [torch.rand([2, 6, 4]), torch.rand([2, 7, 4])]


def get_init_inputs():
    return [[], {}]
