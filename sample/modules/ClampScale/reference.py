import torch
import torch.nn as nn


class ClampScale(nn.Module):

    def __init__(self, min_val=-1.0, max_val=1.0):
        super().__init__()
        self.min_val = min_val
        self.max_val = max_val
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = torch.clamp(x, self.min_val, self.max_val)
        return x * self.scale


def get_inputs():
    return [torch.randn([3, 50]) * 2]


def get_init_inputs():
    return [[], {'min_val': -0.8, 'max_val': 1.2}]
