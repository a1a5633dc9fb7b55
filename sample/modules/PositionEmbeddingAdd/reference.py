import torch
import torch.nn as nn


class PositionEmbeddingAdd(nn.Module):

    def __init__(self, d_model, max_len=16, scale=2.0):
        super().__init__()
        self.scale = scale
        self.pe = nn.Parameter(torch.randn(1, max_len, d_model) * 0.1)

    def forward(self, x):
        seq_len = x.size(1)
        return x * self.scale + self.pe[:, :seq_len]


def get_inputs():
    return [torch.rand([3, 9, 10])]


def get_init_inputs():
    return [[], {'d_model': 10, 'max_len': 16}]
