import torch
import torch.nn as nn


class BilinearScore(nn.Module):
    """score = x1^T W x2 + b, one scalar per pair (deep graph infomax discriminator)."""

    def __init__(self, d1, d2):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d1, d2))
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x1, x2):
        return (torch.matmul(x1, self.weight) * x2).sum(-1) + self.bias


def get_inputs():
    return [torch.rand([3, 7, 10]), torch.rand([3, 7, 14])]


def get_init_inputs():
    return [[10, 14], {}]
