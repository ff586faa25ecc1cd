"""MViT-B (Fan et al., "Multiscale Vision Transformers", ICCV 2021), 32 frames, trained on Kinetics-400."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, int, int]  # frames, height and width of what the tokens stand for

_KERNEL = (3, 3, 3)
_PATCH = (2, 4, 4)
_EPS = 1e-6
# Blocks that halve the picture and double the heads; the width of the tokens doubles at the end of the block before.
_SCALING_BLOCKS = (1, 3, 14)
# The first block's keys and values are pooled by this factor per axis, later ones' by what the picture has not been halved by yet.
_KEY_STRIDE = 8


class MultiScaleAttention(nn.Module):
    """Attention whose queries, keys and values are pooled over time and picture; the class token is not."""

    def __init__(self, width: int, heads: int, query_stride: int, key_stride: int) -> None:
        """Builds the layers.

        Args:
            width: Of a token.
            heads: Number of heads.
            query_stride: By which height and width of what comes out are smaller; at 1, queries are not pooled.
            key_stride: By which height and width of keys and values are smaller.
        """
        super().__init__()
        self.heads = heads
        size = width // heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        if query_stride > 1:
            self.pool_q, self.norm_q = _pool(size, query_stride), nn.LayerNorm(size, _EPS)
        self.pool_k, self.norm_k = _pool(size, key_stride), nn.LayerNorm(size, _EPS)
        self.pool_v, self.norm_v = _pool(size, key_stride), nn.LayerNorm(size, _EPS)
        self.pools_queries = query_stride > 1

    def forward(self, x: torch.Tensor, shape: Shape) -> tuple[torch.Tensor, Shape]:
        """Takes tokens (n, 1 + tokens, width) and their shape; returns those that are left, and theirs."""
        q, k, v = (self._split(layer(x)) for layer in (self.q, self.k, self.v))
        out_shape = shape
        if self.pools_queries:
            q, out_shape = _pooled(q, shape, self.pool_q)
            q = self.norm_q(q)
        k = self.norm_k(_pooled(k, shape, self.pool_k)[0])
        v = self.norm_v(_pooled(v, shape, self.pool_v)[0])
        out = functional.scaled_dot_product_attention(q, k, v)
        projected: torch.Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected, out_shape

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns (..., out)."""
        out: torch.Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class MultiScaleBlock(nn.Module):
    """Attention and a perceptron, each with a shortcut; the one around pooled attention is pooled too."""

    def __init__(self, width: int, out: int, heads: int, query_stride: int, key_stride: int) -> None:
        """Builds the layers; ``out`` is the width of the tokens that come out."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, _EPS)
        self.attn = MultiScaleAttention(width, heads, query_stride, key_stride)
        self.norm2 = nn.LayerNorm(width, _EPS)
        self.mlp = Mlp(width, 4 * width, out)
        self.proj: nn.Module = nn.Identity()
        self.widens = out != width
        if self.widens:
            self.proj = nn.Linear(width, out)
        stride = (1, query_stride, query_stride)
        self.pool_skip = nn.MaxPool3d((1, query_stride + 1, query_stride + 1), stride, (0, 1, 1)) if query_stride > 1 else None

    def forward(self, x: torch.Tensor, shape: Shape) -> tuple[torch.Tensor, Shape]:
        """Takes tokens (n, 1 + tokens, width) and their shape; returns those that are left, and theirs."""
        attended, out_shape = self.attn(self.norm1(x), shape)
        if self.pool_skip is not None:
            x = _pooled(x[:, None], shape, self.pool_skip)[0][:, 0]
        x = x + attended
        normed = self.norm2(x)
        # Where the width grows, the shortcut starts after the normalisation.
        return (self.proj(normed) if self.widens else x) + self.mlp(normed), out_shape


class PatchEmbed(nn.Module):
    """Tokens out of frames."""

    def __init__(self, width: int) -> None:
        """Builds the convolution."""
        super().__init__()
        self.patch_model = nn.Conv3d(3, width, (3, 7, 7), _PATCH, (1, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, 3, frames, height, width) and returns (n, tokens, width)."""
        tokens: torch.Tensor = self.patch_model(x).flatten(2).transpose(1, 2)
        return tokens


class Positions(nn.Module):
    """A class token before the tokens, and learned positions: one table for the place in the picture, one for time."""

    def __init__(self, width: int, shape: Shape) -> None:
        """Makes the tables."""
        super().__init__()
        frames, height, across = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, height * across, width))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, frames, width))
        self.pos_embed_class = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, tokens, width) and returns (n, 1 + tokens, width)."""
        places = (self.pos_embed_temporal[:, :, None] + self.pos_embed_spatial[:, None]).flatten(1, 2)
        first = (self.cls_token + self.pos_embed_class).expand(len(x), -1, -1)
        return torch.cat([first, x + places], dim=1)


class Head(nn.Module):
    """The classifier of the published file."""

    def __init__(self, width: int, classes: int) -> None:
        """Builds the layer."""
        super().__init__()
        self.proj = nn.Linear(width, classes)


class MViT(nn.Module):
    """MViT-B with pytorchvideo's names of tensors; it returns the class token after the last normalisation."""

    def __init__(
        self,
        frames: int = 32,
        side: int = 224,
        width: int = 96,
        depth: int = 16,
        scaling_blocks: Sequence[int] = _SCALING_BLOCKS,
        classes: int = 400,
    ) -> None:
        """Builds the layers.

        Args:
            frames: Of a clip.
            side: Height and width of a frame, in pixels.
            width: Of the first tokens; each scaling block doubles it, and the heads.
            depth: Number of blocks.
            scaling_blocks: Numbers of the blocks that halve the picture.
            classes: Outputs of the classifier.
        """
        super().__init__()
        self.shape: Shape = frames // _PATCH[0], side // _PATCH[1], side // _PATCH[2]
        self.patch_embed = PatchEmbed(width)
        self.cls_positional_encoding = Positions(width, self.shape)
        blocks, heads, key_stride = [], 1, _KEY_STRIDE
        for i in range(depth):
            scales = i in scaling_blocks
            if scales:
                heads, key_stride = 2 * heads, max(key_stride // 2, 1)
            out = 2 * width if i + 1 in scaling_blocks else width
            blocks.append(MultiScaleBlock(width, out, heads, 2 if scales else 1, key_stride))
            width = out
        self.blocks = nn.ModuleList(blocks)
        self.norm_embed = nn.LayerNorm(width, _EPS)
        self.head = Head(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, 3, frames, side, side) and returns (n, width of the last tokens)."""
        x = self.cls_positional_encoding(self.patch_embed(x))
        shape = self.shape
        for block in self.blocks:
            x, shape = block(x, shape)
        features: torch.Tensor = self.norm_embed(x[:, 0])
        return features


def without_twins(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gives the pools of attention one name: later versions of pytorchvideo store each a second time, as ``_attention_pool_q.pool``."""
    named = {}
    for name, value in tensors.items():
        block, twin, rest = name.partition("._attention_pool_")
        if twin and "." in rest:
            which, kind, parameter = rest.split(".", 2)
            name = f"{block}.{kind}_{which}.{parameter}"
        named[name] = value
    return named


def _pool(channels: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(channels, channels, _KERNEL, (1, stride, stride), 1, groups=channels, bias=False)


def _pooled(x: torch.Tensor, shape: Shape, pool: nn.Module) -> tuple[torch.Tensor, Shape]:
    """Pools tokens (n, heads, 1 + tokens, size) as the picture they are of; the class token stays."""
    first, tokens = x[:, :, :1], x[:, :, 1:]
    n, heads = x.shape[:2]
    volume = tokens.flatten(0, 1).transpose(1, 2).reshape(n * heads, -1, *shape)
    pooled = pool(volume)
    tokens = pooled.flatten(2).transpose(1, 2).reshape(n, heads, -1, pooled.shape[1])
    frames, height, across = pooled.shape[2:]
    return torch.cat([first, tokens], dim=2), (frames, height, across)
