import torch
import torch.nn as nn


class AttentionPooling(nn.Module):
    """Self attentive pooling over time for speaker embeddings."""

    def __init__(self, input_dim):
        super(AttentionPooling, self).__init__()
        self.W = nn.Linear(input_dim, 1)

    def forward(self, batch_rep):
        att_w = torch.softmax(self.W(batch_rep).squeeze(-1), dim=-1).unsqueeze(-1)
        return torch.sum(batch_rep * att_w, dim=1)


def get_inputs():
    return [torch.rand([4, 21, 11]) * 3]


def get_init_inputs():
    return [[11], {}]
