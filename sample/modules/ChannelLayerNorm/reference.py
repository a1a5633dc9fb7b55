import torch
import torch.nn as nn


class ChannelLayerNorm(nn.Module):
    """LayerNorm over the channel axis of an image-like tensor (ConvNeXt / VITS style)."""

    def __init__(self, channels, eps=1e-4):
        super().__init__()
        self.channels = channels
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        n_dims = len(x.shape)
        mean = torch.mean(x, 1, keepdim=True)
        variance = torch.mean((x - mean) ** 2, 1, keepdim=True)
        x = (x - mean) * torch.rsqrt(variance + self.eps)
        shape = [1, -1] + [1] * (n_dims - 2)
        return x * self.gamma.view(*shape) + self.beta.view(*shape)


def get_inputs():
    return [torch.rand([2, 12, 5, 7])]


def get_init_inputs():
    return [[], {'channels': 12}]
