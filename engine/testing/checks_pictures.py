"""Promises about `infer` that only a learner for pictures can keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import InputError, UsageError
from emotion_perception.engine.testing.case import Case
from emotion_perception.engine.testing.checks_infer import TOLERANCE, agree, raises


def check_infer_takes_a_batch_axis(case: Case, folder: Path) -> None:
    """Asserts that an array or tensor with a batch axis is a batch, also an empty one."""
    import torch

    learner, picture = case.loaded(folder), case.batch(1)[0]
    one = learner.infer(picture)
    for batch in (picture[None], np.stack([picture]).transpose(0, 3, 1, 2)):
        agree(learner.infer(batch), one, 0.0, "an array with a batch axis and the picture alone")
    empty: list[Any] = [np.zeros((0, 20, 20, 3), np.uint8), torch.zeros(0, 3, 20, 20)]
    for batch in empty:
        assert len(learner.infer(batch)) == 0, f"an empty batch of {batch.dtype} gave results"


def check_infer_takes_every_kind_of_picture(case: Case, folder: Path) -> None:
    """Asserts that one picture as path, array, tensor, `Image`, grey, with alpha or as floats is judged the same."""
    import torch
    from PIL import Image as PillowImage

    learner, rgb = case.loaded(folder), case.batch(1)[0]
    expected = learner.infer(rgb)
    PillowImage.fromarray(rgb).save(folder / "picture.png")
    opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    # The picture was drawn at the network's size, so floats go through no scaling that rounds.
    kinds: dict[str, Any] = {
        "path": folder / "picture.png",
        "path as string": str(folder / "picture.png"),
        "Image": Image(rgb),
        "alpha": np.concatenate([rgb, opaque], axis=2),
        "channels first": rgb.transpose(2, 0, 1),
        "tensor": torch.from_numpy(rgb),
        "tensor, channels first": torch.from_numpy(rgb).permute(2, 0, 1),
        "float32": (rgb / 255.0).astype(np.float32),
        "float64": rgb / 255.0,
        "float tensor with a gradient": (torch.from_numpy(rgb).permute(2, 0, 1).float() / 255.0).requires_grad_(),
        "not contiguous": np.repeat(rgb, 2, axis=1)[:, ::2],
    }
    for kind, picture in kinds.items():
        agree(learner.infer(picture), expected, TOLERANCE, f"{kind} and array")
        agree(learner.infer([rgb, picture])[1], expected, TOLERANCE, f"{kind} in a list, and array")
    grey = rgb[:, :, 1]
    from_grey = learner.infer(np.repeat(grey[:, :, None], 3, axis=2))
    for picture in (grey, grey[:, :, None], grey[None], torch.from_numpy(np.array(grey))):
        agree(learner.infer(picture), from_grey, TOLERANCE, "grey and three equal channels")
    agree(learner.infer(grey > 100), learner.infer((grey > 100) * np.uint8(255)), TOLERANCE, "bool, and 0 and 255")


def check_infer_takes_every_size(case: Case, folder: Path) -> None:
    """Asserts that pictures of any size and proportion are judged, alone and together."""
    learner = case.loaded(folder)
    sizes = [(1, 1), (1, 300), (300, 1), (7, 5), (95, 97), (480, 640)]
    pictures = [np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8) for number, size in enumerate(sizes)]
    together = learner.infer(pictures)
    assert np.isfinite(together.probabilities).all(), "some size gives probabilities that are not finite"
    for number, picture in enumerate(pictures):
        agree(learner.infer(picture), together[number], TOLERANCE, f"a picture of {sizes[number]} alone and with others")


def check_infer_refuses_what_is_no_picture(case: Case, folder: Path) -> None:
    """Asserts that what cannot be used is refused in one line with what was given and expected, and that nothing is judged then."""
    learner, picture = case.loaded(folder), case.batch(1)[0]
    (folder / "text.png").write_text("no picture")
    wrong: list[tuple[Any, tuple[str, ...]]] = [
        (np.zeros(5, np.uint8), ("(5,)", "(h, w")),
        (np.zeros((9, 9, 2), np.uint8), ("(9, 9, 2)", "(h, w")),
        (np.zeros((0, 9, 3), np.uint8), ("(0, 9, 3)",)),
        (np.zeros((2, 2, 9, 9), np.uint8), ("(2, 2, 9, 9)", "h, w, 1|3|4")),
        (np.zeros((9, 9, 3), np.int64), ("int64", "uint8")),
        (np.full((9, 9, 3), 255.0), ("255", "[0, 1]")),
        (np.full((9, 9, 3), -0.5), ("-0.5", "[0, 1]")),
        (np.full((9, 9, 3), np.nan), ("NaN",)),
        (folder / "missing.png", ("missing.png",)),
        (folder / "text.png", ("text.png", "not a picture")),
        (None, ("NoneType",)),
        (5, ("int",)),
    ]
    for given, words in wrong:
        raises(InputError, lambda given=given: learner.infer(given), *words)
        raises(InputError, lambda given=given: learner.infer([picture, given]), *words)


def check_infer_tells_bgr_from_rgb(case: Case, folder: Path) -> None:
    """Asserts that the colour order is respected: the reverse of a coloured picture is another picture unless it is said."""
    learner, rgb = case.loaded(folder), case.batch(1)[0]
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    expected = learner.infer(rgb)
    agree(learner.infer(bgr, color="bgr"), expected, TOLERANCE, "BGR, said, and RGB")
    agree(learner.infer([Image(rgb)], color="bgr"), expected, TOLERANCE, "an Image is RGB whatever is said of arrays")
    difference = np.abs(learner.infer(bgr).probabilities - expected.probabilities).max()
    assert difference > 1e-6, f"BGR taken for RGB makes no difference to a coloured picture, only {difference:.3g}"
    raises(UsageError, lambda: learner.infer(rgb, color="brg"), "brg", "bgr")  # type: ignore[arg-type]  # wrong on purpose


def check_infer_leaves_every_kind_of_picture_alone(case: Case, folder: Path) -> None:
    """Asserts that floats in another colour order and tensors are the same after `infer`, and may be read-only."""
    import torch

    learner, rgb = case.loaded(folder), case.batch(1)[0]
    for given in (rgb / 255.0, (rgb / 255.0).astype(np.float32)):
        before = given.copy()
        given.flags.writeable = False
        learner.infer([given, given], color="bgr")
        assert np.array_equal(given, before), f"infer changed its input, an array of {given.dtype}"
    tensor = torch.from_numpy(rgb / 255.0)
    copy = tensor.clone()
    learner.infer(tensor)
    assert torch.equal(tensor, copy), "infer changed its input, a tensor"
