"""What EmoTx and its baselines are made of; the tensors are named as in the published checkpoints."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu, scaled_dot_product_attention

HEADS = 8
FEED_FORWARD = 2048


class PositionalEncoder(nn.Module):
    """Adds a sine and a cosine of the time bin to every token (Vaswani et al. 2017, section 3.5)."""

    pe: Tensor

    def __init__(self, width: int, bins: int, dropout: float = 0.0) -> None:
        """Makes the table.

        Args:
            width: Of a token, even.
            bins: Rows of the table.
            dropout: Of what is returned.
        """
        super().__init__()
        angles = torch.arange(bins).unsqueeze(1) * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(1, bins, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bins: Tensor) -> Tensor:
        """Returns tokens ``(..., width)`` with the rows of their bins ``(...)`` int64 added."""
        added: Tensor = self.dropout(x + self.pe[0][bins])
        return added


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, with a mask over keys, which never grows to the square of the length."""

    def __init__(self, width: int, dropout: float) -> None:
        """Makes fresh weights.

        Args:
            width: Of a token; a multiple of the number of heads.
            dropout: Of the attention's weights, in training. Above 0, torch makes the whole square of them.
        """
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.width, self.dropout = width, dropout
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, keys: Tensor, queries: int | None) -> Tensor:
        """Returns what the first tokens gather from all.

        Args:
            x: ``(n, length, width)``.
            keys: ``(n, length)`` bool, True at tokens that may be attended to.
            queries: How many of the first tokens ask; all of them if None.

        Returns:
            ``(n, queries, width)``.
        """
        query, key, value = self._projected(x, queries)
        dropout = self.dropout if self.training else 0.0
        gathered = scaled_dot_product_attention(query, key, value, keys[:, None, None], dropout)
        out: Tensor = self.out_proj(gathered.transpose(1, 2).flatten(2))
        return out

    def weights(self, x: Tensor, keys: Tensor, queries: int | None) -> Tensor:
        """Returns how much each asking token attends to every token, mean over heads: ``(n, queries, length)``; rows sum to 1."""
        query, key, _ = self._projected(x, queries)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        return scores.masked_fill(~keys[:, None, None], -math.inf).softmax(-1).mean(1)

    def _projected(self, x: Tensor, queries: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values, each ``(n, heads, tokens, width / heads)``."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.width
        query = linear(x[:, :queries], weight[:width], bias[:width])
        key, value = linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        query, key, value = (part.view(*part.shape[:2], HEADS, -1).transpose(1, 2) for part in (query, key, value))
        return query, key, value


class Layer(nn.Module):
    """A layer of the encoder: attention, then two linear layers, each added to what came in and normalised after that."""

    def __init__(self, width: int, dropout: float, attention_dropout: float) -> None:
        """Makes fresh weights; the arguments are those of `Encoder`."""
        super().__init__()
        self.self_attn = Attention(width, attention_dropout)
        self.linear1, self.linear2 = nn.Linear(width, FEED_FORWARD), nn.Linear(FEED_FORWARD, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor, queries: int | None) -> Tensor:
        """Returns the first ``queries`` tokens, or all, of the next layer; the arguments are those of `Attention.forward`."""
        x = self.norm1(x[:, :queries] + self.dropout(self.self_attn(x, keys, queries)))
        hidden = self.dropout(relu(self.linear1(x)))
        out: Tensor = self.norm2(x + self.dropout(self.linear2(hidden)))
        return out


class Encoder(nn.Module):
    """Some layers; only the first tokens of the last one are computed, as nothing else is read of it."""

    def __init__(self, width: int, layers: int, dropout: float, attention_dropout: float) -> None:
        """Makes fresh weights.

        Args:
            width: Of a token.
            layers: At least one.
            dropout: Of what is added, and between the linear layers.
            attention_dropout: As `Attention` has it.
        """
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, dropout, attention_dropout) for _ in range(layers))

    def forward(self, x: Tensor, keys: Tensor, queries: int) -> Tensor:
        """Returns the first ``queries`` tokens of the last layer, ``(n, queries, width)``; see `Attention.forward`."""
        out: Tensor = self.layers[-1](self.before_last(x, keys), keys, queries)
        return out

    def weights(self, x: Tensor, keys: Tensor, queries: int) -> Tensor:
        """Returns the attention of the last layer as `Attention.weights` does."""
        return cast("Layer", self.layers[-1]).self_attn.weights(self.before_last(x, keys), keys, queries)

    def before_last(self, x: Tensor, keys: Tensor) -> Tensor:
        """Returns what the last layer is given, ``(n, length, width)``."""
        for layer in list(self.layers)[:-1]:
            x = layer(x, keys, None)
        return x
