"""The paper's baselines that see one stream: pooled features, and an encoder with one class token.

What they judge the scene by is the scene's features; a character is judged by its own face alone. Nothing was published of their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emotion_perception.learners.emotx.layers import Encoder, PositionalEncoder

_HIDDEN = 1024


class Pooled(nn.Module):
    """The highest value of each feature over time, and two linear layers with nothing between them."""

    def __init__(self, width: int, architecture: Mapping[str, Any]) -> None:
        """Makes fresh weights for features of a width."""
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, int(architecture["num_labels"]))

    def forward(self, features: Tensor, bins: Tensor, padding: Tensor) -> Tensor:
        """Returns logits ``(n, K)`` of streams ``(n, T, width)``; time does not matter, and a stream with nothing in it counts as zeros."""
        lowest = torch.finfo(features.dtype).min
        highest = features.masked_fill(padding.unsqueeze(-1), lowest).amax(1).masked_fill(padding.all(1, keepdim=True), 0.0)
        logits: Tensor = self.lin2(self.lin1(highest))
        return logits


class Encoded(nn.Module):
    """One layer of an encoder as wide as the features, whose class token is judged."""

    def __init__(self, width: int, architecture: Mapping[str, Any]) -> None:
        """Makes fresh weights for features of a width."""
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.pos_encoder = PositionalEncoder(width, int(architecture["num_pos_embeddings"]), dropout=0.5)
        self.encoder = Encoder(width, 1, float(architecture["dropout"]), float(architecture["attention_dropout"]))
        self.logits = nn.Linear(width, int(architecture["num_labels"]))

    def forward(self, features: Tensor, bins: Tensor, padding: Tensor) -> Tensor:
        """Returns logits ``(n, K)`` of streams ``(n, T, width)`` with time bins and padding ``(n, T)``."""
        tokens = torch.cat([self.cls.expand(features.shape[0], -1, -1), self.pos_encoder(features, bins)], dim=1)
        keys = torch.cat([torch.ones_like(padding[:, :1]), ~padding], dim=1)
        logits: Tensor = self.logits(self.encoder(tokens, keys, 1)[:, 0])
        return logits


class _PerStream(nn.Module):
    """Judges the scene and each character by networks of their own, those of the two that are wanted."""

    def __init__(self, architecture: Mapping[str, Any], make: Callable[[int, Mapping[str, Any]], nn.Module]) -> None:
        super().__init__()
        self.labels = int(architecture["num_labels"])
        widths = {"scene": int(architecture["scene_feat_dim"]), "characters": int(architecture["char_feat_dim"])}
        self.judges = nn.ModuleDict({name: make(width, architecture) for name, width in widths.items() if name in architecture["judges"]})

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Takes and returns what `EmoTx.forward` does; zeros where the network has no such judge."""
        batch, people = inputs[3].shape[:2]
        flat = [values.flatten(0, 1) for values in inputs[3:6]]
        scene = self._judged("scene", inputs[:3], batch)
        return scene, self._judged("characters", flat, batch * people).view(batch, people, self.labels)

    def _judged(self, name: str, inputs: Any, rows: int) -> Tensor:
        logits: Tensor = self.judges[name](*inputs) if name in self.judges else inputs[0].new_zeros(rows, self.labels)
        return logits


class MaxPooled(_PerStream):
    """The published models 1.1 (characters) and 1.2 (scene)."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        """Makes a network with fresh weights; the architecture is that of `model.build_network`, in full."""
        super().__init__(architecture, Pooled)


class SingleEncoder(_PerStream):
    """The published models 2.1 (characters) and 2.2 (scene)."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        """Makes a network with fresh weights; the architecture is that of `model.build_network`, in full."""
        super().__init__(architecture, Encoded)
