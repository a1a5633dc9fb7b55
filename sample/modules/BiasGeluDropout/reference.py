import torch
import torch.nn as nn
import torch.nn.functional as F


class BiasGeluDropout(nn.Module):

    def __init__(self, hidden_size, prob=0.1):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(hidden_size) * 0.02)
        self.dropout = nn.Dropout(prob)

    def forward(self, x):
        x = F.gelu(x + self.bias)
        return self.dropout(x)


def get_inputs():
    return [torch.randn([4, 7, 12])]


def get_init_inputs():
    return [[], {'hidden_size': 12, 'prob': 0.1}]
