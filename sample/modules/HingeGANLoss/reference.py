import torch
import torch.nn as nn


class HingeGANLoss(nn.Module):
    """Discriminator hinge loss; returns the loss of real and of fake scores."""

    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, real, fake):
        loss_real = torch.mean(torch.relu(self.margin - real))
        loss_fake = torch.mean(torch.relu(self.margin + fake))
        return loss_real, loss_fake


def get_inputs():
    return [torch.randn([4, 1, 6, 6]), torch.randn([4, 1, 6, 6])]


def get_init_inputs():
    return [[], {}]
