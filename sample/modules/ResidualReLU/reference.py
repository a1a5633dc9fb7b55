import torch
import torch.nn as nn


class ResidualReLU(nn.Module):

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x, identity):
        out = x + identity
        return self.relu(out)


def get_inputs():
    return [torch.randn([2, 8, 5, 5]), torch.randn([2, 8, 5, 5])]


def get_init_inputs():
    return [[], {}]
