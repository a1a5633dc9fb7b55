import torch
import torch.nn as nn


class MaskLogits(nn.Module):
    """Push the logits of padded positions to a large negative number."""

    def __init__(self, mask_value=-1e30):
        super().__init__()
        self.mask_value = mask_value

    def forward(self, inputs, mask):
        mask = mask.type(torch.float32)
        return inputs * mask + (1 - mask) * self.mask_value


def get_inputs():
    return [torch.randn([4, 30]), torch.randint(0, 2, [4, 30])]


def get_init_inputs():
    return [[], {'mask_value': -1000.0}]
