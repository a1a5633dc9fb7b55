import torch
import torch.nn as nn
import torch.nn.functional as F


class SwiGLUGate(nn.Module):
    """The gating step of a SwiGLU feed-forward layer."""

    def __init__(self, beta=1.0):
        super().__init__()
        self.beta = beta

    def forward(self, gate, up):
        return gate * torch.sigmoid(self.beta * gate) * up


def get_inputs():
    return [torch.randn([4, 6, 10]), torch.randn([4, 6, 10])]


def get_init_inputs():
    return [[], {'beta': 1.5}]
