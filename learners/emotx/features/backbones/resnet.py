"""ResNets with bottlenecks, 50 and 152 layers deep (He et al., CVPR 2016), for scenes and for faces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

_STAGES = "a", "b", "c"
_DAG_NAME = re.compile(r"conv([2-5])_(\d+)(?:([abc])|_adapt)_(conv|bn)\.(.+)")


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as many channels come out as are in the middle."""

    def __init__(self, channels: int, middle: int, stride: int, stride_first: bool, eps: float) -> None:
        """Builds the block.

        Args:
            channels: Channels that come in.
            middle: Channels of the middle.
            stride: 2 where the picture is halved.
            stride_first: Whether the first convolution halves it, as in the paper, or the second, as in torchvision.
            eps: Of the batch normalisations.
        """
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = nn.Conv2d(channels, middle, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(middle, eps)
        self.conv2 = nn.Conv2d(middle, middle, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle, eps)
        self.conv3 = nn.Conv2d(middle, 4 * middle, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * middle, eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != 4 * middle:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 4 * middle, 1, stride, bias=False), nn.BatchNorm2d(4 * middle, eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns (n, 4 * middle, height / stride, width / stride)."""
        shortcut = self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: torch.Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return out


class ResNet(nn.Module):
    """A ResNet with torchvision's names of tensors; it returns the mean over the picture of what its last block gives."""

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        classes: int = 1000,
        width: int = 64,
        stride_first: bool = False,
        stem_bias: bool = False,
        eps: float = 1e-5,
    ) -> None:
        """Builds the layers.

        Args:
            depths: Blocks of the four stages: (3, 4, 6, 3) for 50 layers, (3, 8, 36, 3) for 152.
            classes: Outputs of the classifier.
            width: Channels after the first convolution; 32 times as many features come out.
            stride_first: See `Bottleneck`.
            stem_bias: Whether the first convolution has a bias.
            eps: Of the batch normalisations.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=stem_bias)
        self.bn1 = nn.BatchNorm2d(width, eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, depth in enumerate(depths):
            middle = width << stage
            blocks = []
            for i in range(depth):
                blocks.append(Bottleneck(channels, middle, 2 if stage and not i else 1, stride_first, eps))
                channels = 4 * middle
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, 3, height, width) and returns (n, 32 * width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        features: torch.Tensor = self.avgpool(x).flatten(1)
        return features


def from_dag(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gives the tensors of a face ResNet-50 of the ``*_dag`` family torchvision's names; names it does not know stay as they are."""
    renamed = {}
    for name, value in tensors.items():
        found = _DAG_NAME.fullmatch(name)
        if found:
            stage, block, step, kind, rest = found.groups()
            place = {"conv": "0", "bn": "1"}[kind]
            layer = f"downsample.{place}" if step is None else f"{kind}{_STAGES.index(step) + 1}"
            name = f"layer{int(stage) - 1}.{int(block) - 1}.{layer}.{rest}"
        else:
            for old, new in (("conv1_conv.", "conv1."), ("conv1_bn.", "bn1."), ("prediction.", "fc.")):
                name = new + name.removeprefix(old) if name.startswith(old) else name
        renamed[name] = value
    return renamed
