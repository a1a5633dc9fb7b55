import torch
import torch.nn as nn


class AlphaBlend(nn.Module):
    """Composite a foreground over a background with a one-channel mask."""

    def forward(self, fg, bg, alpha):
        return alpha * fg + (1.0 - alpha) * bg


def get_inputs():
    return [torch.rand([2, 3, 6, 6]), torch.rand([2, 3, 6, 6]), torch.rand([2, 1, 6, 6])]


def get_init_inputs():
    return [[], {}]
