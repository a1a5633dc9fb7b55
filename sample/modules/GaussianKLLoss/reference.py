import torch
import torch.nn as nn


class GaussianKLLoss(nn.Module):
    """KL(q || N(0, 1)) of a diagonal Gaussian, summed over latents, mean over the batch."""

    def forward(self, mu, logvar):
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
        return kld.mean()


def get_inputs():
    return [torch.randn([6, 20]), torch.randn([6, 20]) * 0.5]


def get_init_inputs():
    return [[], {}]
