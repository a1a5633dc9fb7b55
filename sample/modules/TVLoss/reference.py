import torch
import torch.nn as nn


class TVLoss(nn.Module):

    def __init__(self, tv_weight=1.0):
        super(TVLoss, self).__init__()
        self.tv_weight = tv_weight

    def forward(self, x):
        batch_size = x.size(0)
        h_x = x.size(2)
        w_x = x.size(3)
        count_h = x[:, :, 1:, :].numel() // batch_size
        count_w = x[:, :, :, 1:].numel() // batch_size
        h_tv = torch.pow(x[:, :, 1:, :] - x[:, :, :h_x - 1, :], 2).sum()
        w_tv = torch.pow(x[:, :, :, 1:] - x[:, :, :, :w_x - 1], 2).sum()
        return self.tv_weight * 2 * (h_tv / count_h + w_tv / count_w) / batch_size


def get_inputs():
    return [torch.rand([2, 3, 12, 9])]


def get_init_inputs():
    return [[], {}]
