import torch
import torch.nn as nn
import torch.nn.functional as F


class LinearReLU(nn.Module):

    def __init__(self, in_features, out_features):
        super().__init__()
        self.fc = nn.Linear(in_features, out_features)

    def forward(self, x):
        return F.relu(self.fc(x))


def get_inputs():
    return [torch.rand([6, 5, 22]) - 0.5]


def get_init_inputs():
    return [[22, 37], {}]
