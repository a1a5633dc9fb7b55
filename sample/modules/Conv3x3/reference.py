import torch
import torch.nn as nn


class Conv3x3(nn.Module):
    """Reflection padding followed by a 3x3 convolution (monodepth2 decoder layer)."""

    def __init__(self, in_channels, out_channels, use_refl=True):
        super(Conv3x3, self).__init__()
        if use_refl:
            self.pad = nn.ReflectionPad2d(1)
        else:
            self.pad = nn.ZeroPad2d(1)
        self.conv = nn.Conv2d(int(in_channels), int(out_channels), 3)

    def forward(self, x):
        out = self.pad(x)
        out = self.conv(out)
        return out


def get_inputs():
    return [torch.rand([2, 4, 8, 9])]


def get_init_inputs():
    return [[4, 6], {}]
