import torch
import torch.nn as nn
import torch.nn.functional as F


class TemporalConv1d(nn.Module):
    """Causal 1D convolution followed by a ReLU (one block of a TCN)."""

    def __init__(self, in_channels, out_channels, kernel_size=3, dilation=1):
        super().__init__()
        self.pad = (kernel_size - 1) * dilation
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation)

    def forward(self, x):
        return F.relu(self.conv(F.pad(x, (self.pad, 0))))


def get_inputs():
    return [torch.rand([2, 6, 25]) - 0.5]


def get_init_inputs():
    return [[6, 10], {'kernel_size': 3, 'dilation': 2}]
