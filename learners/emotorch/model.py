"""EmoTorch's two networks, after Autischer, Waxnegger and Kowald 2026. The tensors are named as in the published checkpoints."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

CLASSES = 4
SIDE = 48  # of the input, in pixels; the baseline takes no other
# A little for every class: where the baseline's scores are all zero, its probabilities are equal instead of undefined.
_LEAST = 1e-6


def luminance(x: Tensor) -> Tensor:
    """Turns RGB ``(n, 3, h, w)`` into grey ``(n, 1, h, w)``, as the published training pictures were turned (ITU-R BT.601)."""
    return 0.299 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]


class Baseline(nn.Module):
    """Four convolutions and a linear layer whose scores are rectified; 6,964 parameters. Trained on the cosine of scores and classes."""

    def __init__(self) -> None:
        """Makes a network with fresh weights."""
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 4), nn.Conv2d(10, 10, 4)
        self.conv3, self.conv4 = nn.Conv2d(10, 10, 4), nn.Conv2d(10, 10, 4)
        self.fc = nn.Linear(490, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns scores ``(n, 4)``, at least 0, of RGB faces ``(n, 3, 48, 48)`` float32 in [0, 1]."""
        return self.from_last_conv(self.last_conv(x))

    def last_conv(self, x: Tensor) -> Tensor:
        """Returns the maps of the last convolution, ``(n, 10, 15, 15)``."""
        h = relu(self.conv2(relu(self.conv1(luminance(x)))))
        return relu(self.conv4(relu(self.conv3(max_pool2d(h, 2)))))

    def from_last_conv(self, maps: Tensor) -> Tensor:
        """Goes on from `last_conv` to what `forward` returns."""
        return relu(self.fc(max_pool2d(maps, 2).flatten(1)))

    def probabilities(self, scores: Tensor) -> Tensor:
        """Returns each score's share of their sum: their softmax, as published, says 26 % however sure the network is."""
        return (scores + _LEAST) / (scores + _LEAST).sum(1, keepdim=True)


class Enhanced(nn.Module):
    """Three blocks of two convolutions with batch norm, dropout and a global mean; 321,892 parameters."""

    def __init__(self, dropout_rate: float = 0.4) -> None:
        """Makes a network with fresh weights.

        Args:
            dropout_rate: Of the last block and the head; the first two blocks have half and three quarters of it.
        """
        super().__init__()
        widths = (1, 32, 32, 64, 64, 128, 128)
        for i in range(1, 7):
            setattr(self, f"conv{i}", nn.Conv2d(widths[i - 1], widths[i], 3, padding=1))
            setattr(self, f"bn{i}", nn.BatchNorm2d(widths[i]))
        for i, share in enumerate((0.5, 0.75, 1.0), 1):
            setattr(self, f"drop{i}", nn.Dropout2d(dropout_rate * share))
        self.fc1, self.bn_fc1, self.drop = nn.Linear(128, 256), nn.BatchNorm1d(256), nn.Dropout(dropout_rate)
        self.fc2 = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``(n, 4)`` of RGB faces ``(n, 3, 48, 48)`` float32 in [0, 1]; other sizes from 8 on work too."""
        return self.from_last_conv(self.last_conv(x))

    def last_conv(self, x: Tensor) -> Tensor:
        """Returns the maps of the last convolution, ``(n, 128, 12, 12)`` at 48x48."""
        h = luminance(x)
        for block in range(3):
            if block:
                h = self._finish(h, block)
            for i in (2 * block + 1, 2 * block + 2):
                h = relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(h)))
        return h

    def from_last_conv(self, maps: Tensor) -> Tensor:
        """Goes on from `last_conv` to what `forward` returns."""
        h = self._finish(maps, 3).mean((2, 3))
        logits: Tensor = self.fc2(self.drop(relu(self.bn_fc1(self.fc1(h)))))
        return logits

    def probabilities(self, scores: Tensor) -> Tensor:
        """Returns the softmax of the logits."""
        return scores.softmax(1)

    def _finish(self, h: Tensor, block: int) -> Tensor:
        """Ends a block: pooling and dropout."""
        out: Tensor = getattr(self, f"drop{block}")(max_pool2d(h, 2))
        return out


NETWORKS = {"baseline": Baseline, "enhanced": Enhanced}


class Deployed(nn.Module):
    """A copy of either network that is made to run: batch norm is folded away, and the probabilities are part of it."""

    def __init__(self, model: Baseline | Enhanced) -> None:
        """Copies a network, which stays as it is."""
        super().__init__()
        self.network = copy.deepcopy(model).eval()
        for name, norm in list(self.network.named_children()):
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer = "fc1" if isinstance(norm, nn.BatchNorm1d) else name.replace("bn", "conv")
                before = getattr(self.network, layer)
                fused = fuse_linear_bn_eval(before, norm) if isinstance(before, nn.Linear) else fuse_conv_bn_eval(before, norm)
                setattr(self.network, layer, fused)
                setattr(self.network, name, nn.Identity())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns probabilities ``(n, 4)`` and what they are made of, scores or logits ``(n, 4)``."""
        scores = self.network(x)
        return self.network.probabilities(scores), scores
