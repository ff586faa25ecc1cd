"""VGG-M with batch normalisation (Chatfield et al., BMVC 2014), trained on VGGFace and FER2013."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class VggM(nn.Module):
    """VGG-M with the names of tensors of ``vgg_m_face_bn_fer_dag``; it returns what its first fully connected block gives."""

    def __init__(self, channels: Sequence[int] = (96, 256, 512), hidden: int = 4096, classes: int = 7) -> None:
        """Builds the layers.

        Args:
            channels: Of the first convolution, the second, and the others.
            hidden: Width of the fully connected layers.
            classes: Outputs of the classifier.
        """
        super().__init__()
        first, second, other = channels
        self.conv1, self.bn49 = nn.Conv2d(3, first, 7, 2), nn.BatchNorm2d(first)
        self.conv2, self.bn50 = nn.Conv2d(first, second, 5, 2, 1), nn.BatchNorm2d(second)
        self.conv3, self.bn51 = nn.Conv2d(second, other, 3, 1, 1), nn.BatchNorm2d(other)
        self.conv4, self.bn52 = nn.Conv2d(other, other, 3, 1, 1), nn.BatchNorm2d(other)
        self.conv5, self.bn53 = nn.Conv2d(other, other, 3, 1, 1), nn.BatchNorm2d(other)
        self.fc6, self.bn54 = nn.Conv2d(other, hidden, 6), nn.BatchNorm2d(hidden)
        self.fc7, self.bn55 = nn.Conv2d(hidden, hidden, 1), nn.BatchNorm2d(hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Takes (n, 3, 224, 224) and returns (n, hidden)."""
        x = self.pool(self.relu(self.bn49(self.conv1(x))))
        x = self.pool2(self.relu(self.bn50(self.conv2(x))))
        x = self.relu(self.bn51(self.conv3(x)))
        x = self.relu(self.bn52(self.conv4(x)))
        x = self.pool(self.relu(self.bn53(self.conv5(x))))
        features: torch.Tensor = self.relu(self.bn54(self.fc6(x))).flatten(1)
        return features
