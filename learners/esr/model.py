"""The ESR network (Siqueira et al., AAAI 2020) and its diversified variant (Heidari and Iosifidis, 2022), in plain torch.

A shared convolutional base learns low and middle level features; K independent convolutional branches on top of it are the ensemble.
Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, max_pool2d, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emotion_perception.learners.esr.fused import at_once

EMOTIONS = 8
_LAST_WIDTH = 512
# Of the shared features, for branches whose last maps are to be looked at: 20 pixels become 6, and 12 become 2.
_LEAST_SIDE = 20


class ChannelGate(nn.Module):
    """CBAM's channel attention: one small perceptron over the average-pooled and the max-pooled channels."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        """Makes a gate for ``channels`` channels."""
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the attention ``(n, channels)`` in (0, 1)."""
        return torch.sigmoid(self.mlp(adaptive_avg_pool2d(x, 1)) + self.mlp(adaptive_max_pool2d(x, 1)))


class SpatialGate(nn.Module):
    """CBAM's spatial attention: a 7x7 convolution over the maximum and the mean of all channels."""

    def __init__(self) -> None:
        """Makes a gate for maps of any size."""
        super().__init__()
        layers = {"conv": nn.Conv2d(2, 1, 7, padding=3, bias=False), "bn": nn.BatchNorm2d(1, momentum=0.01)}
        self.spatial = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the attention ``(n, 1, h, w)`` in (0, 1)."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        attention: Tensor = self.spatial(pooled)
        return torch.sigmoid(attention)


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al., ECCV 2018): channel gate, then spatial gate."""

    def __init__(self, channels: int) -> None:
        """Makes both gates."""
        super().__init__()
        self.ChannelGate = ChannelGate(channels)  # the published parameter names are in capitals
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the gated maps, same shape."""
        return self.gates(x)[0]

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the gated maps, the spatial attention ``(n, h, w)`` and the channel attention ``(n, c)``."""
        channel = self.ChannelGate(x)
        gated = x * channel[:, :, None, None]
        spatial = self.SpatialGate(gated)
        return gated * spatial, spatial[:, 0], channel


class Block(nn.Module):
    """Four convolutions with batch norm, each optionally pooled by 2 and optionally followed by CBAM: base and branches alike."""

    cbam4: CBAM  # the diversified variant only

    def __init__(
        self,
        widths: tuple[int, int, int, int, int],
        kernels: tuple[int, ...],
        paddings: tuple[int, ...],
        pooled: tuple[int, ...],
        diversify: bool,
    ) -> None:
        """Makes conv1..conv4, bn1..bn4 and, for the diversified variant, cbam1..cbam4.

        Args:
            widths: Channels before conv1 and after each of the four.
            kernels: Kernel size of each convolution.
            paddings: Zero padding of each convolution.
            pooled: Numbers (1 to 4) of the convolutions followed by 2x2 max pooling.
            diversify: Whether CBAM follows each convolution.
        """
        super().__init__()
        self.pooled = pooled
        self.diversify = diversify
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], kernels[i], padding=paddings[i]))
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(widths[i + 1]))
            if diversify:
                self.add_module(f"cbam{i + 1}", CBAM(widths[i + 1]))

    def step(self, x: Tensor, number: int) -> Tensor:
        """Applies convolution ``number`` with its batch norm, pooling and ReLU, without CBAM."""
        x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
        # ReLU and max pooling commute; pooling first leaves a quarter of the work to ReLU.
        return relu(max_pool2d(x, 2) if number in self.pooled else x)

    def attend(self, x: Tensor, number: int) -> Tensor:
        """Applies CBAM ``number`` where the variant has it."""
        return getattr(self, f"cbam{number}")(x) if self.diversify else x

    def convolve(self, x: Tensor, first: int = 1, last: int = 4) -> Tensor:
        """Applies the convolutions ``first`` to ``last``, each with its CBAM but for the fourth's."""
        for number in range(first, last + 1):
            x = self.step(x, number)
            x = self.attend(x, number) if number < 4 else x
        return x


class Base(Block):
    """The shared layers: ``(n, 3, 96, 96)`` -> ``(n, 128, 20, 20)``."""

    def __init__(self, diversify: bool = False) -> None:
        """Makes the shared layers."""
        super().__init__((3, 64, 128, 128, 128), kernels=(5, 3, 3, 3), paddings=(0, 0, 0, 0), pooled=(2, 4), diversify=diversify)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shared features."""
        return self.attend(self.convolve(x), 4)


class Branch(Block):
    """One member of the ensemble: shared features -> eight logits, and affect from the rectified logits."""

    def __init__(self, diversify: bool = False) -> None:
        """Makes a branch with fresh weights."""
        super().__init__((128, 128, 256, 256, _LAST_WIDTH), kernels=(3, 3, 3, 3), paddings=(0, 0, 0, 1), pooled=(2,), diversify=diversify)
        self.fc = nn.Linear(_LAST_WIDTH, EMOTIONS)
        self.fc_dimensional = nn.Linear(EMOTIONS, 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``(n, 8)`` and affect ``(n, 2)`` [valence, arousal], unbounded."""
        return self.from_last_conv(self.convolve(features))

    def from_last_conv(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Goes on from the maps of the last convolution ``(n, 512, h, w)``, or of the first ``(n, 128, h, w)``, as Grad-CAM needs it."""
        maps = maps if maps.shape[1] == _LAST_WIDTH else self.convolve(maps, first=2)
        logits = self.fc(self.attend(maps, 4).mean((2, 3)))
        return logits, self.fc_dimensional(relu(logits))


class ESR(nn.Module):
    """Ensemble with shared representations.

    ESR-9 has 20,349,546 parameters; ESR-15 33,666,054; the diversified ESR*-9 20,832,494 and ESR*-15 34,465,946.
    """

    def __init__(self, ensemble_size: int = 9, diversify: bool = False) -> None:
        """Makes a network with fresh weights.

        Args:
            ensemble_size: Number of branches.
            diversify: Whether CBAM follows every convolution (ESR*).
        """
        super().__init__()
        self.base = Base(diversify)
        self.convolutional_branches = nn.ModuleList(Branch(diversify) for _ in range(ensemble_size))

    @property
    def branches(self) -> list[Branch]:
        """The members of the ensemble, in order."""
        return cast("list[Branch]", list(self.convolutional_branches))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judges RGB faces ``(n, 3, 96, 96)`` float32 in [0, 1]; other sizes from 54 on work too.

        Returns:
            Logits ``(n, branches, 8)`` and affect ``(n, branches, 2)`` [valence, arousal], unbounded.
        """
        features = self.base(x)
        return stacked([branch(features) for branch in self.branches])

    def last_conv(self, x: Tensor) -> Tensor:
        """Returns the maps of every branch's last convolution, ``(n, branches, 512, 6, 6)`` at 96x96, for Grad-CAM.

        For smaller faces those of the first, ``(n, branches, 128, 10, 10)`` at 64x64: the last has too few pixels to tell places apart.
        """
        features = self.base(x)
        last = 4 if features.shape[-1] >= _LEAST_SIDE else 1
        return torch.stack([branch.convolve(features, last=last) for branch in self.branches], dim=1)

    def from_last_conv(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Goes on from `last_conv` to what `forward` returns."""
        return stacked([branch.from_last_conv(maps[:, i]) for i, branch in enumerate(self.branches)])

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the last CBAM's spatial ``(branches, n, 6, 6)`` and channel ``(branches, n, 512)`` attention; ESR* only."""
        features = self.base(x)
        gates = [branch.cbam4.gates(branch.convolve(features))[1:] for branch in self.branches]
        return torch.stack([g[0] for g in gates]), torch.stack([g[1] for g in gates])

    def to_state_dict(self) -> list[dict[str, Tensor]]:
        """Returns copies of the state of the base and of every branch, as the published ``save(state_dicts=...)`` takes them."""
        parts = [self.base, *self.convolutional_branches]
        return [{key: value.detach().clone() for key, value in part.state_dict().items()} for part in parts]


class Deployed(nn.Module):
    """A copy of an ESR that is made to run: batch norm is folded into the convolutions, and the ensemble's reduction is part of it.

    Of a network on a GPU, the branches run all at once, see `at_once`. A file is exported from one on the CPU, which has a layer of its own
    for each branch, so that it can be cut.
    """

    def __init__(self, model: ESR) -> None:
        """Copies a network, which stays as it is."""
        super().__init__()
        self.esr = copy.deepcopy(model).eval()
        for block in (self.esr.base, *self.esr.branches):
            for i in range(1, 5):
                setattr(block, f"conv{i}", fuse_conv_bn_eval(getattr(block, f"conv{i}"), getattr(block, f"bn{i}")))
                setattr(block, f"bn{i}", nn.Identity())
        self.fused = at_once(self.esr.branches)
        if self.fused is not None:
            self.esr.convolutional_branches = nn.ModuleList()  # their weights are not needed twice

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Judges faces as `ESR.forward` takes them.

        Returns:
            Mean probabilities ``(n, 8)``, mean affect ``(n, 2)``, and of every branch logits ``(n, branches, 8)`` and affect
            ``(n, branches, 2)``, unbounded.
        """
        logits, affect = self.esr(x) if self.fused is None else self.fused(self.esr.base(x))
        return logits.softmax(2).mean(1), affect.mean(1), logits, affect


def stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Puts the logits ``(n, 8)`` and the affect ``(n, 2)`` of branches beside each other: ``(n, branches, 8)`` and ``(n, branches, 2)``."""
    return torch.stack([logits for logits, _ in pairs], dim=1), torch.stack([affect for _, affect in pairs], dim=1)
