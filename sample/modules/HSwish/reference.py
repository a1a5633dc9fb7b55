import torch
import torch.nn as nn
import torch.nn.functional as F


class HSwish(nn.Module):
    """Hard swish of MobileNetV3."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        out = x * F.relu6(x + 3, inplace=self.inplace) / 6
        return out


def get_inputs():
    return [torch.randn([2, 3, 5, 7]) * 4]


def get_init_inputs():
    return [[], {}]
