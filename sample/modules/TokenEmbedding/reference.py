import math

import torch
import torch.nn as nn


class TokenEmbedding(nn.Module):
    """Token embedding scaled by sqrt(d_model) plus a learned position embedding."""

    def __init__(self, vocab_size, d_model, max_len=64):
        super().__init__()
        self.d_model = d_model
        self.embed = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Parameter(torch.randn(max_len, d_model) * 0.02)

    def forward(self, tokens):
        x = self.embed(tokens) * math.sqrt(self.d_model)
        return x + self.pos[:tokens.size(1)]


def get_inputs():
    return [torch.randint(0, 30, [3, 14])]


def get_init_inputs():
    return [[], {'vocab_size': 30, 'd_model': 20}]
