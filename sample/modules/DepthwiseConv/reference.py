import torch
import torch.nn as nn


class DepthwiseConv(nn.Module):

    def __init__(self, channels, kernel_size=3, stride=1):
        super().__init__()
        self.dw = nn.Conv2d(channels, channels, kernel_size, stride=stride,
                            padding=kernel_size // 2, groups=channels, bias=False)

    def forward(self, x):
        return self.dw(x)


def get_inputs():
    return [torch.rand([2, 5, 11, 10]) - 0.5]


def get_init_inputs():
    return [[5], {'kernel_size': 3, 'stride': 2}]
