"""Where in a picture a network sees a class: Grad-CAM (Selvaraju et al. 2017) by captum, for each branch of an ensemble on its own.

A network that can be explained has two methods: ``last_conv(x)`` returns the maps of its last convolution, ``(n, channels, h, w)`` or
``(n, branches, channels, h, w)``, and ``from_last_conv(maps)`` goes on from them to what ``forward`` returns, class logits first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import MissingDependencyError, UsageError
from emotion_perception.engine.evaluation.report import new_figure, store_figure
from emotion_perception.engine.labels import LabelSet
from emotion_perception.engine.target import Category, FloatArray

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.learners import Learner

_SHOWN = 3  # classes in a picture, where none are asked for
_COLUMNS = 5


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one input was judged as it was.

    Attributes:
        labels: The label set of the classes.
        category: What the learner says of the input.
        picture: ``(height, width, 3)`` uint8 RGB, what the network was shown.
        maps: ``(classes, h, w)`` float32, how much each place speaks for a class: the mean of the branches, 0 where it does not; in units
            of the logit, so that classes can be compared.
        branch_maps: ``(branches, classes, h, w)``, the same of every branch; one branch where a network is no ensemble.
        branch_probabilities: ``(branches, classes)``.
    """

    labels: LabelSet
    category: Category
    picture: NDArray[np.uint8]
    maps: FloatArray
    branch_maps: FloatArray
    branch_probabilities: FloatArray

    @property
    def dissenting(self) -> list[int]:
        """Branches that find another class the most probable than the learner says."""
        return [int(branch) for branch in np.flatnonzero(self.branch_probabilities.argmax(axis=1) != self.category.data)]

    def likeness(self, branch: int, index: int) -> float | None:
        """Returns how alike a branch's map of a class is to the mean of all: their cosine, in [0, 1]; None where one is empty."""
        own, mean = self.branch_maps[branch, index].ravel().astype(np.float64), self.maps[index].ravel().astype(np.float64)
        length = float(np.linalg.norm(own) * np.linalg.norm(mean))
        return float(own @ mean) / length if length > 0 else None

    def to_dict(self, classes: Sequence[int] | None = None) -> dict[str, Any]:
        """Returns plain values, ready for JSON; maps of ``classes``, of all if None."""
        wanted = range(len(self.labels)) if classes is None else classes
        judged, words = self.category.data, self.labels.words
        return {
            "class": self.category.description,
            "confidence": self.category.confidence,
            "classes": {words[k]: {"probability": float(self.category.probabilities[k]), "map": self.maps[k].tolist()} for k in wanted},
            "branches": [
                {
                    "class": words[int(shares.argmax())],
                    "confidence": float(shares.max()),
                    "agrees": branch not in self.dissenting,
                    "likeness": self.likeness(branch, judged),
                    "maps": {words[k]: self.branch_maps[branch, k].tolist() for k in wanted},
                }
                for branch, shares in enumerate(self.branch_probabilities)
            ],
            "dissenting": self.dissenting,
        }


def explain(learner: Learner, picture: NDArray[np.uint8]) -> Explanation:
    """Explains what a learner says of one input.

    Args:
        learner: With weights. Its network is run in torch, whatever back end infers.
        picture: ``(height, width, 3)`` uint8 RGB: a face crop as `face_crop` makes it, or a whole picture.

    Raises:
        NotLoadedError: The learner has no weights yet.
        UsageError: The learner's network does not have the two methods.
        MissingDependencyError: captum is not installed.
    """
    from emotion_perception.engine.vision.crops import resized

    try:
        from captum.attr import LayerGradCam
    except ImportError:
        raise MissingDependencyError("captum", "explaining", "explain") from None
    import torch

    model: Any = learner.model
    if not (hasattr(model, "last_conv") and hasattr(model, "from_last_conv")):
        missing = f"{type(model).__name__}, the network of {learner.name}, has no last_conv and from_last_conv"
        raise UsageError(f"{missing}; give it both to have it explained, see engine/evaluation/explanation.py")
    spec, labels = learner.card.input, learner.card.label_set
    (x,) = learner.inputs([picture])
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        maps = model.last_conv(torch.from_numpy(x).to(device))
        branched = maps.ndim == 5
        logits = _logits(model, maps)
    tail = _tail(model, branched, len(labels))
    inputs = maps.flatten(0, 1) if branched else maps  # each branch is a row of its own
    grad_cam = LayerGradCam(tail, tail.maps)
    with torch.enable_grad():
        found = [grad_cam.attribute(inputs.detach().requires_grad_(), target=k, relu_attributions=True) for k in range(len(labels))]
    branch_maps = torch.cat(found, dim=1).detach().cpu().numpy().astype(np.float32)
    shares = logits.reshape(-1, len(labels)).softmax(1).cpu().numpy()
    category = learner.emotions(learner.outputs(x)).categories[0]
    return Explanation(
        labels=labels,
        category=category,
        picture=np.asarray(resized(picture, spec.height, spec.width, spec.interpolation), dtype=np.uint8),
        maps=branch_maps.mean(axis=0),
        branch_maps=branch_maps,
        branch_probabilities=shares,
    )


def _logits(model: Any, maps: torch.Tensor) -> torch.Tensor:
    """Returns the class logits, whatever else a network returns."""
    outputs = model.from_last_conv(maps)
    logits: torch.Tensor = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    return logits


def _tail(model: Any, branched: bool, classes: int) -> Any:
    """Makes the part of a network behind its last convolution, as captum takes it: the maps are the output of a layer."""
    from torch import Tensor, nn

    class Tail(nn.Module):
        """Maps of the last convolution to logits, ``(rows, classes)``; a row is a branch, or an input."""

        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Identity()

        def forward(self, maps: Tensor) -> Tensor:
            """Returns the logits."""
            seen = self.maps(maps)
            return _logits(model, seen[None] if branched else seen).reshape(-1, classes)

    return Tail()


def plot(explanation: Explanation, path: str | Path, classes: Sequence[int] = (), title: str = "") -> Path:
    """Draws the maps over the picture: a panel per class and, for an ensemble, a panel per branch for the first of these classes.

    Args:
        explanation: What to draw.
        path: The PNG file to write.
        classes: Class indices; the three most probable if empty.
        title: Title of the plot.
    """
    labels, probabilities = explanation.labels, explanation.category.probabilities
    shown = list(classes) or np.argsort(-probabilities)[:_SHOWN].tolist()
    # One scale for the classes and one for the branches, so that a class that nothing speaks for stays dark.
    most, most_of_branches = (max(float(values.max()), 1e-9) for values in (explanation.maps[shown], explanation.branch_maps[:, shown[0]]))
    panels: list[tuple[FloatArray | None, str, bool]] = [(None, "what the network sees", True)]
    panels += [(explanation.maps[k] / most, f"{labels.words[k]} {probabilities[k]:.2f}", True) for k in shown]
    branches = len(explanation.branch_probabilities)
    if branches > 1:
        for branch, shares in enumerate(explanation.branch_probabilities):
            own = int(shares.argmax())
            agrees = branch not in explanation.dissenting
            says = f"branch {branch + 1}: {labels.words[own]} {shares[own]:.2f}"
            panels.append((explanation.branch_maps[branch, shown[0]] / most_of_branches, says, agrees))
    top = 1 + len(shown)
    columns = max(min(top, _COLUMNS), min(branches, _COLUMNS) if branches > 1 else 0)
    rows = -(-top // columns) + (-(-branches // columns) if branches > 1 else 0)
    figure = new_figure(2.3 * columns, 2.5 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    places = [*range(top), *range(-(-top // columns) * columns, rows * columns)]
    for axes in grid:
        axes.set_axis_off()
    for place, (values, words, agrees) in zip(places, panels, strict=False):
        grid[place].imshow(explanation.picture)
        if values is not None:
            over = _over(values, explanation.picture.shape)
            grid[place].imshow(over, cmap="inferno", alpha=0.55, vmin=0.0, vmax=1.0)
        grid[place].set_title(words, fontsize=10, color="black" if agrees else "#b3261e")
    note = f"branches: where they see {labels.words[shown[0]]}; red: another class is more probable to it" if branches > 1 else ""
    figure.suptitle("\n".join(filter(None, (title or str(explanation.category), note))), fontsize=11)
    return store_figure(figure, path)


def _over(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Returns a map at the size of a picture."""
    from emotion_perception.engine.vision.opencv import opencv

    cv2 = opencv("drawing explanations")
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC).clip(min=0.0), np.float32)
