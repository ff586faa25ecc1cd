"""MobileNetV2 (Sandler et al., CVPR 2018) with a hidden layer and up to two heads, in plain torch.

A tower is a backbone, a hidden layer, and one head or both. One network for both tasks has one tower; a classifier and a regressor as they
were published are two. Parameter names of a backbone are those of torchvision's ImageNet weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

HEADS = {"categorical": 8, "dimensional": 2}
FEATURES, HIDDEN = 1280, 1024
# Expansion, channels, blocks, stride of the first block: the paper's table 2.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Conventions(NamedTuple):
    """What two code bases do differently in the same network, so that weights of one answer falsely in the other.

    Attributes:
        pads_late: Strided convolutions pad as TensorFlow's "same": an even size gets its one line of zeros below and right.
        epsilon, momentum: Of batch norm, in torch's sense.
    """

    pads_late: bool
    epsilon: float
    momentum: float


CONVENTIONS = {"keras": Conventions(True, 1e-3, 1e-3), "torch": Conventions(False, 1e-5, 0.1)}


class Convolution(nn.Conv2d):
    """A convolution without bias that makes ``(n, c, h, w)`` to ``(n, c', ceil(h / stride), ceil(w / stride))``."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, groups: int, pads_late: bool) -> None:
        """Makes the layer; ``channels`` are those before and after it."""
        late = pads_late and stride > 1
        super().__init__(*channels, kernel, stride, padding=0 if late else kernel // 2, groups=groups, bias=False)
        self.pads_late = late

    def forward(self, x: Tensor) -> Tensor:
        """Pads and convolves."""
        if self.pads_late:
            x = pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
        return super().forward(x)


def _layers(
    channels: tuple[int, int], conventions: Conventions, kernel: int = 1, stride: int = 1, groups: int = 1
) -> tuple[Convolution, nn.BatchNorm2d]:
    norm = nn.BatchNorm2d(channels[1], eps=conventions.epsilon, momentum=conventions.momentum)
    return Convolution(channels, kernel, stride, groups, conventions.pads_late), norm


def _rectified(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.ReLU6())


class InvertedResidual(nn.Module):
    """A block of the backbone: wide, depthwise, narrow; the input is added where it has the output's shape."""

    def __init__(self, channels: tuple[int, int], expansion: int, stride: int, conventions: Conventions) -> None:
        """Makes the block; ``channels`` are those before and after it."""
        super().__init__()
        before, after = channels
        wide = before * expansion
        widened = [_rectified(*_layers((before, wide), conventions))] if expansion > 1 else []
        depthwise = _rectified(*_layers((wide, wide), conventions, 3, stride, wide))
        self.conv = nn.Sequential(*widened, depthwise, *_layers((wide, after), conventions))
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(n, after, ceil(h / stride), ceil(w / stride))``."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


def backbone(conventions: Conventions, stem_stride: int = 2) -> nn.Sequential:
    """Makes the convolutional part: ``(n, 3, h, w)`` -> ``(n, 1280, h / 32, w / 32)``, or h / 16 and w / 16 with a stem of stride 1."""
    layers: list[nn.Module] = [_rectified(*_layers((3, 32), conventions, 3, stem_stride))]
    before = 32
    for expansion, after, count, first_stride in _STAGES:
        for number in range(count):
            layers.append(InvertedResidual((before, after), expansion, first_stride if number == 0 else 1, conventions))
            before = after
    return nn.Sequential(*layers, _rectified(*_layers((before, FEATURES), conventions)))


class Tower(nn.Module):
    """A backbone, a hidden layer and heads."""

    def __init__(self, heads: Sequence[str], conventions: str = "keras", stem_stride: int = 2) -> None:
        """Makes a tower with fresh weights.

        Args:
            heads: Of `HEADS`.
            conventions: Of `CONVENTIONS`.
            stem_stride: Stride of the first convolution; 1 keeps the detail of small pictures.
        """
        super().__init__()
        self.features = backbone(CONVENTIONS[conventions], stem_stride)
        self.dense = nn.Linear(FEATURES, HIDDEN)
        self.heads = nn.ModuleDict({head: nn.Linear(HIDDEN, HEADS[head]) for head in heads})

    def forward(self, x: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Judges pictures ``(n, 3, h, w)``.

        Args:
            x: The pictures, as `MobileNetV2.forward` takes them.
            drop: Changes the hidden values, for dropout.

        Returns:
            Logits and affect, those that the tower has heads for.
        """
        return self.from_last_conv(self.features(x), drop)

    def from_last_conv(self, maps: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Goes on from the maps of the last convolution ``(n, 1280, h, w)``."""
        hidden = relu(self.dense(maps.mean((2, 3))))
        hidden = hidden if drop is None else drop(hidden)
        return {name: head(hidden) for name, head in self.heads.items()}


class MobileNetV2(nn.Module):
    """A tower with both heads, or a classifier, a regressor, or both of these.

    They have 3,579,978, 3,577,928, 3,571,778 and 7,149,706 parameters, running statistics of batch norm included.
    """

    def __init__(self, towers: Sequence[Sequence[str]] = (tuple(HEADS),), conventions: str = "keras", stem_stride: int = 2) -> None:
        """Makes a network with fresh weights; the arguments are those of `Tower`, with the heads of each."""
        super().__init__()
        self.towers = nn.ModuleList(Tower(heads, conventions, stem_stride) for heads in towers)

    @classmethod
    def of(cls, architecture: Mapping[str, Any]) -> MobileNetV2:
        """Makes the network that a card's ``architecture`` describes."""
        heads = tuple(HEADS) if architecture["heads"] == "both" else (str(architecture["heads"]),)
        towers = (heads,) if architecture["shared"] else tuple((head,) for head in heads)
        return cls(towers, str(architecture["conventions"]), int(architecture["stem_stride"]))

    def parts(self) -> list[Tower]:
        """Returns the towers."""
        return cast("list[Tower]", list(self.towers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judges RGB faces ``(n, 3, h, w)`` float32 in [-1, 1]; made for 224x224, any size from 32 on works.

        Returns:
            Logits ``(n, 8)`` and affect ``(n, 2)`` [valence, arousal], unbounded; zeros where there is no such head.
        """
        return self._joined([tower(x) for tower in self.parts()])

    def last_conv(self, x: Tensor) -> Tensor:
        """Returns the maps of every tower's last convolution, ``(n, towers, 1280, 7, 7)`` at 224x224, for Grad-CAM."""
        return torch.stack([tower.features(x) for tower in self.parts()], dim=1)

    def from_last_conv(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Goes on from `last_conv` to what `forward` returns."""
        return self._joined([tower.from_last_conv(maps[:, i]) for i, tower in enumerate(self.parts())])

    def add_affect(self, shared: bool, seed: int) -> None:
        """Makes a regressor of the classifier: a fresh last layer for valence and arousal, everything before it as it is.

        Args:
            shared: Put it beside the classifier's, on the same tower; else on a copy of the tower.
            seed: Of its weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = nn.Linear(HIDDEN, HEADS["dimensional"])
        tower = self.parts()[0]
        if shared:
            tower.heads["dimensional"] = fresh
        else:
            tower = copy.deepcopy(tower)
            tower.heads = nn.ModuleDict({"dimensional": fresh})
            self.towers.append(tower)

    @staticmethod
    def _joined(outputs: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        found = {name: values for each in outputs for name, values in each.items()}
        one = next(iter(found.values()))
        logits, affect = (found.get(head, one.new_zeros(one.shape[0], count)) for head, count in HEADS.items())
        return logits, affect


class Deployed(nn.Module):
    """A copy of a network that is made to run: batch norm is folded into the convolutions, and logits become probabilities."""

    def __init__(self, model: MobileNetV2) -> None:
        """Copies a network, which stays as it is."""
        super().__init__()
        self.network = copy.deepcopy(model).eval()
        for layers in [module for module in self.network.modules() if isinstance(module, nn.Sequential)]:
            for i, (layer, norm) in enumerate(pairwise(layers)):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    layers[i], layers[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judges faces as `MobileNetV2.forward` takes them; returns probabilities ``(n, 8)`` and affect ``(n, 2)``, unbounded."""
        logits, affect = self.network(x)
        return logits.softmax(1), affect
