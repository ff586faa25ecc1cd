"""Inception-ResNet-V1 (Szegedy et al., AAAI 2017; for faces: Schroff et al., CVPR 2015), trained on VGGFace2 to tell people apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class Conv(nn.Sequential):
    """A convolution without bias, batch normalisation and ReLU."""

    def __init__(self, channels: int, out: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0) -> None:
        """Builds the three."""
        super().__init__()
        self.add_module("conv", nn.Conv2d(channels, out, kernel, stride, padding, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out, eps=0.001))
        self.add_module("relu", nn.ReLU(inplace=True))


class Branches(nn.Module):
    """What several branches make of the same input, one after another along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        """Keeps the branches as ``branch0``, ``branch1``, ..."""
        super().__init__()
        self.count = len(branches)
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns (n, sum of channels, height, width)."""
        return torch.cat([self.get_submodule(f"branch{i}")(x) for i in range(self.count)], dim=1)


class Residual(Branches):
    """Branches whose scaled sum with the input goes on."""

    def __init__(self, channels: int, joined: int, scale: float, last: bool, *branches: nn.Module) -> None:
        """Builds the block.

        Args:
            channels: Channels that come in, and go out.
            joined: Channels of all branches.
            scale: Weight of the branches.
            last: Whether no ReLU follows.
            branches: What is joined.
        """
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(joined, channels, 1)
        self.scale, self.last = scale, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns as many channels as came in."""
        out = self.conv2d(super().forward(x)) * self.scale + x
        return out if self.last else functional.relu(out)


def block35() -> Residual:
    """Returns a block for 256 channels, 17 x 17 pixels large for a face of 160."""
    third = nn.Sequential(Conv(256, 32, 1), Conv(32, 32, 3, padding=1), Conv(32, 32, 3, padding=1))
    return Residual(256, 96, 0.17, False, Conv(256, 32, 1), nn.Sequential(Conv(256, 32, 1), Conv(32, 32, 3, padding=1)), third)


def block17() -> Residual:
    """Returns a block for 896 channels."""
    second = nn.Sequential(Conv(896, 128, 1), Conv(128, 128, (1, 7), padding=(0, 3)), Conv(128, 128, (7, 1), padding=(3, 0)))
    return Residual(896, 256, 0.10, False, Conv(896, 128, 1), second)


def block8(scale: float = 0.20, last: bool = False) -> Residual:
    """Returns a block for 1792 channels."""
    second = nn.Sequential(Conv(1792, 192, 1), Conv(192, 192, (1, 3), padding=(0, 1)), Conv(192, 192, (3, 1), padding=(1, 0)))
    return Residual(1792, 384, scale, last, Conv(1792, 192, 1), second)


class InceptionResnetV1(nn.Module):
    """Inception-ResNet-V1 with facenet-pytorch's names of tensors; it returns embeddings of length 1."""

    def __init__(self, repeats: Sequence[int] = (5, 10, 5), classes: int = 8631) -> None:
        """Builds the layers.

        Args:
            repeats: How often the three kinds of blocks are repeated.
            classes: Outputs of the classifier.
        """
        super().__init__()
        self.conv2d_1a = Conv(3, 32, 3, 2)
        self.conv2d_2a = Conv(32, 32, 3)
        self.conv2d_2b = Conv(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = Conv(64, 80, 1)
        self.conv2d_4a = Conv(80, 192, 3)
        self.conv2d_4b = Conv(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(repeats[0])))
        self.mixed_6a = Branches(
            Conv(256, 384, 3, 2), nn.Sequential(Conv(256, 192, 1), Conv(192, 192, 3, padding=1), Conv(192, 256, 3, 2)), nn.MaxPool2d(3, 2)
        )
        self.repeat_2 = nn.Sequential(*(block17() for _ in range(repeats[1])))
        self.mixed_7a = Branches(
            nn.Sequential(Conv(896, 256, 1), Conv(256, 384, 3, 2)),
            nn.Sequential(Conv(896, 256, 1), Conv(256, 256, 3, 2)),
            nn.Sequential(Conv(896, 256, 1), Conv(256, 256, 3, padding=1), Conv(256, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_3 = nn.Sequential(*(block8() for _ in range(repeats[2])))
        self.block8 = block8(scale=1.0, last=True)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)
        self.logits = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, 3, 160, 160) and returns (n, 512)."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.mixed_6a(self.repeat_1(x))
        x = self.mixed_7a(self.repeat_2(x))
        x = self.block8(self.repeat_3(x))
        x = self.last_bn(self.last_linear(self.avgpool_1a(x).flatten(1)))
        return functional.normalize(x, dim=1)
