import torch
import torch.nn as nn


class TwoLayerMLP(nn.Module):

    def __init__(self, in_dim, hidden_dim, out_dim):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim)
        self.act = nn.Tanh()
        self.fc2 = nn.Linear(hidden_dim, out_dim)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def get_inputs():
    return [torch.rand([50, 12])]


def get_init_inputs():
    return [[], {'in_dim': 12, 'hidden_dim': 30, 'out_dim': 9}]
