import torch
import torch.nn as nn
import torch.nn.functional as F


class TemperatureSoftmax(nn.Module):

    def __init__(self, temperature=2.0, dim=-1):
        super(TemperatureSoftmax, self).__init__()
        self.temperature = temperature
        self.dim = dim

    def forward(self, logits):
        return F.softmax(logits / self.temperature, dim=self.dim)


def get_inputs():
    return [torch.rand([3, 7, 20])]


def get_init_inputs():
    return [[], {'temperature': 2.0}]
