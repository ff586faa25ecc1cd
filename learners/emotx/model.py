"""EmoTx (Srivastava et al., CVPR 2023): a transformer over what is seen, who is seen and what is said in a clip.

Tensors are named as in the published checkpoints. Class tokens come first in the sequence, published it was the first of each part:
that changes no answer, and makes the class tokens, all that is read of the last layer, one slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.learners.emotx.baselines import MaxPooled, SingleEncoder
from emotion_perception.learners.emotx.clips import STREAMS
from emotion_perception.learners.emotx.layers import HEADS, Encoder, PositionalEncoder

# Streams are in the order of the inputs, and of the rows of `type_emb`.
JUDGES = STREAMS[:2]
_PER_STREAM = 3  # inputs: features, time bins, padding


class Positions(NamedTuple):
    """What each of the L positions of the sequence is.

    Attributes:
        stream: ``(L,)`` int64, number in `STREAMS`; of a class token that of what it judges.
        character: ``(L,)`` int64, number of the character, -1 where there is none.
        label: ``(L,)`` int64, of class tokens the number among those of the same scene or character, else -1.
        bins: ``(B, L)`` int64 time bins, -1 at class tokens.
        padding: ``(B, L)`` bool, True where there is nothing.
    """

    stream: Tensor
    character: Tensor
    label: Tensor
    bins: Tensor
    padding: Tensor


class EmoTx(nn.Module):
    """The network with a class token per label, for the scene and for each character."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        """Makes a network with fresh weights; 8,166,410 parameters with ten labels and features of the published kinds.

        Args:
            architecture: As `build_network` takes it.
        """
        super().__init__()
        width, labels = int(architecture["hidden_dim"]), int(architecture["num_labels"])
        self.labels, self.characters = labels, int(architecture["num_chars"])
        self.streams = tuple(name for name in STREAMS if name in architecture["streams"])
        self.scene_dim_reduction = nn.Linear(int(architecture["scene_feat_dim"]), width)
        self.char_dim_reduction = nn.Linear(int(architecture["char_feat_dim"]), width)
        self.srt_dim_reduction = nn.Linear(int(architecture["srt_feat_dim"]), width)
        self.positional_encoder = self._positions(width, int(architecture["num_pos_embeddings"]))
        self.type_emb, self.char_emb = nn.Embedding(len(STREAMS), width), nn.Embedding(self.characters, width)
        self.encoder = Encoder(
            width, int(architecture["num_enc_layers"]), float(architecture["dropout"]), float(architecture["attention_dropout"])
        )
        self.layer_norm = nn.LayerNorm(width)
        self._make_class_tokens(width, labels)
        # What no answer depends on is stored and counted, but not trained.
        for name, projection in zip(STREAMS, self._projections(), strict=True):
            projection.requires_grad_(name in self.streams)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Judges B clips.

        Args:
            *inputs: The nine arrays of `clips.INPUT_NAMES`, as `clips.Tokens` describes them. N must be the network's own.

        Returns:
            Logits of the scene ``(B, K)`` and of the characters ``(B, N, K)``; those of absent characters mean nothing.
        """
        logits = self._logits(self.class_outputs(*inputs))
        return logits[:, 0], logits[:, 1:]

    def class_outputs(self, *inputs: Tensor) -> Tensor:
        """Returns the class tokens after the last layer: ``(B, 1 + N, class_tokens, hidden_dim)``, the scene's first."""
        tokens, keys = self.sequence(*inputs)
        return self._by_owner(self.encoder(tokens, keys, (1 + self.characters) * self.class_tokens))

    def attention(self, *inputs: Tensor) -> Tensor:
        """Returns how much each class token attends to every position in the last layer, mean over heads.

        Args:
            *inputs: As `forward` takes them.

        Returns:
            ``(B, 1 + N, K, L)`` float32; the scene first. What the positions are, `positions` says. With one class token for all labels,
            K equal rows.
        """
        tokens, keys = self.sequence(*inputs)
        weights = self.encoder.weights(tokens, keys, (1 + self.characters) * self.class_tokens)
        return self._by_owner(weights.float()).expand(-1, -1, self.labels, -1)

    def sequence(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the encoder is given, ``(B, L, hidden_dim)``, and ``(B, L)`` bool, True where there is something."""
        batch = inputs[0].shape[0]
        classes = self._class_tokens().flatten(0, 1).expand(batch, -1, -1)
        parts, keys = [classes], [torch.ones_like(classes[..., 0], dtype=torch.bool)]
        projections = self._projections()
        for number, (features, bins, padding) in self._used(inputs):
            part = self.positional_encoder(projections[number](features), bins) + self.type_emb.weight[number]
            if STREAMS[number] == "characters":
                part = (part + self.char_emb.weight.unsqueeze(1)).flatten(1, 2)
            parts.append(part)
            keys.append(~padding.flatten(1))
        tokens: Tensor = self.layer_norm(torch.cat(parts, dim=1))
        return tokens, torch.cat(keys, dim=1)

    def positions(self, *inputs: Tensor) -> Positions:
        """Says what the positions of the sequence are; the inputs are those of `forward`."""
        batch, device, count = inputs[0].shape[0], inputs[0].device, self.class_tokens
        owners = torch.arange(-1, self.characters, device=device).repeat_interleave(count)
        # Of a class token: the scene's are in stream 0, a character's in stream 1.
        streams, characters, labels = [(owners >= 0).long()], [owners], [torch.arange(count, device=device).repeat(1 + self.characters)]
        bins = [torch.full((batch, len(owners)), -1, device=device)]
        padding = [torch.zeros((batch, len(owners)), dtype=torch.bool, device=device)]
        for number, (_, part_bins, part_padding) in self._used(inputs):
            bins.append(part_bins.flatten(1))
            padding.append(part_padding.flatten(1))
            length = bins[-1].shape[1]
            whose = torch.arange(self.characters, device=device).repeat_interleave(part_bins.shape[-1])
            streams.append(torch.full((length,), number, device=device))
            characters.append(whose if STREAMS[number] == "characters" else torch.full((length,), -1, device=device))
            labels.append(torch.full((length,), -1, device=device))
        return Positions(torch.cat(streams), torch.cat(characters), torch.cat(labels), torch.cat(bins, dim=1), torch.cat(padding, dim=1))

    def _used(self, inputs: tuple[Tensor, ...]) -> list[tuple[int, tuple[Tensor, ...]]]:
        """Returns the number in `STREAMS` of every stream that the network looks at, and its three inputs."""
        return [
            (number, inputs[_PER_STREAM * number : _PER_STREAM * (number + 1)])
            for number, name in enumerate(STREAMS)
            if name in self.streams
        ]

    def _by_owner(self, rows: Tensor) -> Tensor:
        """Parts the rows of all class tokens, ``(B, (1 + N) class_tokens, ...)``, by whose they are."""
        return rows.reshape(rows.shape[0], 1 + self.characters, self.class_tokens, -1)

    def _projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.scene_dim_reduction, self.char_dim_reduction, self.srt_dim_reduction

    def _positions(self, width: int, bins: int) -> PositionalEncoder:
        return PositionalEncoder(width, bins)

    def _make_class_tokens(self, width: int, labels: int) -> None:
        """Makes what learns to ask, and what makes logits of the answers."""
        self.cls_emb_srt, self.cls_emb_scene, self.cls_emb_char = (nn.Embedding(labels, width) for _ in range(3))
        self.class_tokens = labels  # of the scene, and of each character
        self.cls_emb_srt.requires_grad_(False)  # published with the others, and used by nothing
        self.logits: nn.Module = nn.ModuleList(nn.Linear(width, 1) for _ in range(labels))

    def _class_tokens(self) -> Tensor:
        """Returns the class tokens with all that is added to them, ``(1 + N, class_tokens, hidden_dim)``."""
        return self._owned(self.cls_emb_scene.weight, self.cls_emb_char.weight)

    def _owned(self, scene: Tensor, character: Tensor) -> Tensor:
        """Adds to class tokens ``(class_tokens, hidden_dim)`` of the scene and of any character what says whose they are."""
        kinds = self.type_emb.weight
        return torch.cat([(scene + kinds[0]).unsqueeze(0), character + kinds[1] + self.char_emb.weight.unsqueeze(1)])

    def _logits(self, outputs: Tensor) -> Tensor:
        """Returns ``(B, 1 + N, K)`` of `class_outputs`: every label has a row of weights for its own class token."""
        heads = list(self.logits.children())
        weight, bias = (torch.cat([head.get_parameter(name) for head in heads]) for name in ("weight", "bias"))
        return (outputs * weight).sum(-1) + bias


class OneClassToken(EmoTx):
    """The published model 3.0: one class token, shared by scene and characters, and one linear layer for all labels."""

    def _positions(self, width: int, bins: int) -> PositionalEncoder:
        return PositionalEncoder(width, bins, dropout=0.1)

    def _make_class_tokens(self, width: int, labels: int) -> None:
        self.class_tokens = 1
        self.cls_token = nn.Parameter(torch.randn(width))
        self.logits = nn.Linear(width, labels)

    def _class_tokens(self) -> Tensor:
        token = self.cls_token.unsqueeze(0)
        return self._owned(token, token)

    def _logits(self, outputs: Tensor) -> Tensor:
        logits: Tensor = self.logits(outputs.squeeze(2))
        return logits


NETWORKS = {"emotx": EmoTx, "emotx_1cls": OneClassToken, "mlp": MaxPooled, "single_encoder": SingleEncoder}
# What an architecture says beside the sizes, where nothing else is said.
DEFAULTS: Mapping[str, Any] = {
    "network": "emotx",
    "num_pos_embeddings": 2187,
    "scene_feat_dim": 768,
    "char_feat_dim": 2048,
    "srt_feat_dim": 768,
    "num_enc_layers": 2,
    "num_chars": 4,
    "max_individual_tokens": 300,
    "hidden_dim": 512,
    "streams": STREAMS,
    "judges": JUDGES,
    "attention_dropout": 0.0,
    "dropout": 0.1,
}
_SIZES = ("num_labels", *(name for name, value in DEFAULTS.items() if isinstance(value, int)))


def build_network(architecture: Mapping[str, Any]) -> nn.Module:
    """Makes a network with fresh weights.

    Args:
        architecture: What a card stores: ``num_labels``, and what differs from `DEFAULTS`. Sizes are named as in the published
            checkpoints; beside them are ``network`` (a name of `NETWORKS`), ``streams`` (some of `STREAMS`: what is looked at; the
            baselines look at what they judge), ``judges`` (some of `JUDGES`: what is judged; the baselines have nothing for others),
            ``dropout`` and ``attention_dropout`` (published 0.1; 0 needs no square of the sequence's length in memory).

    Returns:
        A module that takes the nine arrays of `clips.INPUT_NAMES` and returns logits of scene and characters, see `EmoTx.forward`.

    Raises:
        UsageError: An entry is unknown or makes no sense.
    """
    for name in architecture:
        if name not in DEFAULTS and name != "num_labels":
            raise unknown_name("entry of the architecture", name, [*DEFAULTS, "num_labels"])
    full = {**DEFAULTS, **architecture}
    if full["network"] not in NETWORKS:
        raise unknown_name("network", str(full["network"]), NETWORKS)
    for name in _SIZES:
        if not isinstance(full.get(name), int) or full[name] < 1:
            raise UsageError(f"{name} is {full.get(name)!r}, expected a whole number from 1")
    if full["hidden_dim"] % HEADS:
        raise UsageError(f"hidden_dim is {full['hidden_dim']}, expected a multiple of {HEADS}, one part per head")
    for name, known in (("streams", STREAMS), ("judges", JUDGES)):
        if not full[name] or not set(full[name]) <= set(known):
            raise UsageError(f"{name} are {list(full[name])}, expected some of {', '.join(known)}")
    network: nn.Module = NETWORKS[full["network"]](full)
    return network
