import torch
import torch.nn as nn


class CosineSim(nn.Module):
    """Cosine similarity with a learned-free scale, after two explicit normalisations."""

    def __init__(self, dim=-1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, a, b):
        a_norm = a / a.norm(p=2, dim=self.dim, keepdim=True).clamp(min=self.eps)
        b_norm = b / b.norm(p=2, dim=self.dim, keepdim=True).clamp(min=self.eps)
        return (a_norm * b_norm).sum(dim=self.dim)


def get_inputs():
    return [torch.rand([4, 5, 30]) - 0.5, torch.rand([4, 5, 30]) - 0.5]


def get_init_inputs():
    return [[], {}]
