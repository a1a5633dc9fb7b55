import torch
import torch.nn as nn


class GatedLinearUnit(nn.Module):

    def __init__(self, dim=1):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        a, b = torch.chunk(x, 2, dim=self.dim)
        return a * torch.sigmoid(b)


def get_inputs():
    return [torch.rand([4, 6, 5, 5])]


def get_init_inputs():
    return [[], {'dim': 1}]
