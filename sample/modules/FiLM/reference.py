import torch
import torch.nn as nn


class FiLM(nn.Module):
    """Feature-wise linear modulation."""

    def forward(self, x, gammas, betas):
        gammas = gammas.unsqueeze(2).unsqueeze(3).expand_as(x)
        betas = betas.unsqueeze(2).unsqueeze(3).expand_as(x)
        return (gammas * x) + betas


def get_inputs():
    return [torch.rand([4, 3, 5, 6]), torch.rand([4, 3]), torch.rand([4, 3])]


def get_init_inputs():
    return [[], {}]
