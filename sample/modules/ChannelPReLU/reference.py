import torch
import torch.nn as nn


class ChannelPReLU(nn.Module):
    """Per-channel leaky slope and shift, for N x C x L inputs."""

    def __init__(self, channels):
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        x = x + self.shift[None, :, None]
        return torch.where(x > 0, x, x * self.slope[None, :, None])


def get_inputs():
    return [torch.randn([2, 6, 17])]


def get_init_inputs():
    return [[], {'channels': 6}]
