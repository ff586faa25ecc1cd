"""EmoNet's network: AlexNet in two towers (Krizhevsky et al. 2012), as Kragel et al. 2019 retrained it. Tensors are named as published."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, max_pool2d, pad, relu

from emotion_perception.engine.errors import InputError, check_words

CLASSES = 20
SIDE = 227  # of the input, in pixels; from 259 on there would be a judgement for each of several places
LAYERS = ("conv5", "fc6", "fc7", "fc8")
# Where the head for valence and arousal takes its input from: the twenty probabilities, or fc7.
AFFECT_FROM = ("probabilities", "fc7")
# What is subtracted from the pixels: nothing, a value per channel, or one per pixel.
MEANS: dict[str, tuple[int, ...] | None] = {"none": None, "channel": (3, 1, 1), "image": (3, SIDE, SIDE)}


def convolution(before: int, after: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Sequential:
    """Makes a convolution with the name that it has in the published files; what follows it has no weights."""
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, padding, groups=groups))


def response_norm(h: Tensor) -> Tensor:
    """Divides maps by the size of their five neighbours among the channels: x / (1 + 1e-4 / 5 * sum of squares) ** 0.75.

    torch's own layer gives the same, in five times the time on a CPU.
    """
    around, channels = pad(h.square(), (0, 0, 0, 0, 2, 2)), h.shape[1]
    total = around[:, 0:channels]
    for i in range(1, 5):
        total = total + around[:, i : i + channels]
    return h / (1.0 + total * (1e-4 / 5.0)) ** 0.75


def full_layer(layer: nn.Sequential, h: Tensor) -> Tensor:
    """Runs a convolution that covers its whole input as the linear layer it is, which oneDNN does in half the time."""
    inside: Any = layer[0]
    return linear(h.flatten(1), inside.weight.flatten(1), inside.bias)


class EmoNet(nn.Module):
    """Five convolutions, three of them in two towers, and three full layers that are convolutions as well; 56,950,164 parameters."""

    def __init__(self, affect: str = "none", mean: str = "none", width: float = 1.0) -> None:
        """Makes a network with fresh weights.

        Args:
            affect: Where a head for valence and arousal takes its input from, of `AFFECT_FROM`; ``none``: there is no such head.
            mean: What is subtracted from the pixels, of `MEANS`; zeros in a fresh network, part of its state.
            width: Factor on the channels of all hidden layers; 1 is the published network.
        """
        super().__init__()

        def wide(channels: int) -> int:
            return 2 * max(1, round(channels * width / 2))

        one, two, three, full = wide(96), wide(256), wide(384), wide(4096)
        self.conv_0 = convolution(3, one, 11, stride=4)
        self.conv_1 = convolution(one, two, 5, padding=2, groups=2)
        self.conv_2 = convolution(two, three, 3, padding=1)
        self.conv_3 = convolution(three, three, 3, padding=1, groups=2)
        self.conv_4 = convolution(three, two, 3, padding=1, groups=2)
        self.conv_5 = convolution(two, full, 6)
        self.conv_6 = convolution(full, full, 1)
        self.classifier = convolution(full, CLASSES, 1)
        shape = MEANS[mean]
        self.mean: Tensor | None
        self.register_buffer("mean", None if shape is None else torch.zeros(shape))
        self.affect: nn.Linear | None = None
        self.affect_from = "none"
        if affect != "none":
            self.add_affect(affect)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judges RGB pictures ``(n, 3, 227, 227)``, uint8 or float, 0 to 255.

        Returns:
            Logits ``(n, 20)`` and affect ``(n, 2)`` [valence, arousal], unbounded; zeros where there is no such head.

        Raises:
            InputError: Pictures of another size; `Learner.infer` scales them.
        """
        return self.from_last_conv(self.last_conv(x))

    def last_conv(self, x: Tensor) -> Tensor:
        """Returns the maps of the last convolution, rectified, ``(n, 256, 13, 13)``; takes what `forward` takes."""
        return self.stages(x)[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """Returns what each of the five convolutions ends in: the first two normalised and pooled, the last one not yet pooled."""
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, SIDE, SIDE):
            raise InputError(f"EmoNet's network takes (n, 3, {SIDE}, {SIDE}), got {tuple(x.shape)}; scale the pictures, or call infer")
        h = x.float() if self.mean is None else x.float() - self.mean
        found = []
        for layer in (self.conv_0, self.conv_1):
            h = max_pool2d(response_norm(relu(layer(h))), 3, 2)
            found.append(h)
        for layer in (self.conv_2, self.conv_3, self.conv_4):
            h = relu(layer(h))
            found.append(h)
        return found

    def from_last_conv(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Goes on from `last_conv` to what `forward` returns."""
        outputs = self.heads(maps)
        logits = outputs["categorical"]
        return logits, outputs.get("dimensional", logits.new_zeros(logits.shape[0], 2))

    def full(self, maps: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Returns fc6 and fc7, rectified, ``(n, 4096)`` each, of the maps of the last convolution; ``drop`` is for dropout."""
        fc6 = relu(full_layer(self.conv_5, max_pool2d(maps, 3, 2)))
        fc6 = fc6 if drop is None else drop(fc6)
        fc7 = relu(full_layer(self.conv_6, fc6))
        return fc6, fc7 if drop is None else drop(fc7)

    def heads(self, maps: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Returns logits ``(n, 20)`` and, where there is such a head, affect ``(n, 2)``, by the names of the training's heads."""
        fc7 = self.full(maps, drop)[1]
        found = {"categorical": full_layer(self.classifier, fc7)}
        if self.affect is not None:
            seen = fc7 if self.affect_from == "fc7" else found["categorical"].softmax(1)
            found["dimensional"] = self.affect(seen)
        return found

    def features(self, x: Tensor, layer: str = "fc7") -> Tensor:
        """Returns what a layer says of pictures, as `forward` takes them.

        Args:
            x: The pictures.
            layer: ``conv5`` ``(n, 256, 13, 13)``, ``fc6`` or ``fc7`` ``(n, 4096)``, all three rectified, or ``fc8``, the logits.

        Raises:
            UsageError: Another layer.
        """
        check_words("layer", layer, LAYERS)
        maps = self.last_conv(x)
        if layer == "conv5":
            return maps
        if layer == "fc8":
            return self.heads(maps)["categorical"]
        return self.full(maps)[layer == "fc7"]

    def add_affect(self, affect_from: str) -> None:
        """Adds a fresh head for valence and arousal; everything else stays as it is."""
        last: Any = self.classifier[0]
        self.affect = nn.Linear(CLASSES if affect_from == "probabilities" else last.in_channels, 2)
        self.affect_from = affect_from


class Deployed(nn.Module):
    """What runs: the network with linear layers in the place of the convolutions that they are, and with probabilities."""

    def __init__(self, model: EmoNet) -> None:
        """Takes over a network, which stays as it is; the weights, 228 MB, are not copied where their layout allows it."""
        super().__init__()
        self.network = copy.copy(model)
        self.network._modules = dict(model._modules)
        for name in ("conv_5", "conv_6", "classifier"):
            convolution: Any = getattr(model, name)[0]
            weight = convolution.weight.detach().flatten(1)
            with torch.device("meta"):
                layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight, layer.bias = nn.Parameter(weight), convolution.bias
            setattr(self.network, name, nn.Sequential(layer))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns probabilities ``(n, 20)``, affect ``(n, 2)``, unbounded, and logits ``(n, 20)`` of pictures as the network takes them."""
        logits, affect = self.network(x)
        return logits.softmax(1), affect, logits


def on_meta(make: Callable[[], EmoNet]) -> EmoNet:
    """Makes a network without memory for its tensors, to ask for names and shapes."""
    with torch.device("meta"):
        return make()


def of(architecture: Mapping[str, Any]) -> EmoNet:
    """Makes the network that a card's ``architecture`` describes."""
    return EmoNet(str(architecture["affect"]), str(architecture["mean"]), float(architecture["width"]))
