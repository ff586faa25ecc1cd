"""The published checkpoint layout of ESR: one torch file for the shared base and one per branch, numbered from 1."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.cards import ModelCard, WeightFile
from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.engine.weights import check_shapes, digest_of, folder_reading, folder_update, load_torch, write_torch

if TYPE_CHECKING:
    from torch import Tensor

BASE_NAME = "Net-Base-Shared_Representations.pt"
BRANCH_NAME = "Net-Branch_{}.pt"
_ADDRESS = (
    "https://raw.githubusercontent.com/siqueira-hc/Efficient-Facial-Feature-Learning-with-Wide-Ensemble-based-Convolutional-Neural-Networks"
    "/master/model/ml/trained_models/esr_9/"
)
_BRANCH_DIGESTS = (
    "e5d8b005b556e00db68b0b5d0bcee7102ccd9a3f",
    "c4af83fd0c42e714c67b2ae937506d153f9bbe26",
    "a79d5f10035c2ba76ec8b3bd8bb26b74057e27b7",
    "c1296a8f4eed09b4409ea74a7733fdd4f098e886",
    "5e9060dd4920f25c8222b7758d0774b62d922ffa",
    "e21160368163d0c199ef16efa3a28b452c73d63b",
    "618bd03d599da78cdd75ed58f3eeef0b0a650c48",
    "db56e4b1aa42048f34cf4086593e37a5aabb5fce",
    "280edf9afa2d24b4c81e817c24846c805166faf4",
)

PUBLISHED_FILES: tuple[WeightFile, ...] = (
    WeightFile(BASE_NAME, _ADDRESS + BASE_NAME, "sha256:563215f7ae9487277f2da2f1b48d6d1e3b3de5daa1cf377429dd5368379acb97"),
    *(
        WeightFile(name, _ADDRESS + name, f"git-blob:{digest}")
        for name, digest in ((BRANCH_NAME.format(i), d) for i, d in enumerate(_BRANCH_DIGESTS, 1))
    ),
)


def read_published(
    folder: str | Path, ensemble_size: int | None = None, base_name: str = BASE_NAME, branch_name: str = BRANCH_NAME
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Reads published files, of either variant, with or without ``fc_dimensional``.

    Args:
        folder: Where they are.
        ensemble_size: Number of branches to read, 0 for the base alone; all that are there if None.
        base_name: File name of the shared base.
        branch_name: File name of a branch, with ``{}`` for its number from 1.

    Returns:
        The tensors, named as in the ESR network's state dict (``base.*``, ``convolutional_branches.<number from 0>.*``), and the
        numbers (from 0) of the branches whose file has no ``fc_dimensional``, as categorical training writes them: their two
        tensors are missing in the first.

    Raises:
        WeightsError: A file is missing, truncated or of another model; it is named, and so is the first tensor that does not fit.
        UsageError: ``ensemble_size`` is negative, or ``branch_name`` has no ``{}``.
    """
    folder = Path(folder)
    _check_names(ensemble_size, branch_name)
    if not folder.is_dir():
        raise WeightsError(
            f"weights folder {str(folder)!r} is not there; give a folder with {base_name} and {branch_name.format('<i>')} files"
        )
    with folder_reading(folder):
        base = load_torch(folder / base_name)
        expected_base, expected_branch = _expected_shapes(_is_diversified(base))
        check_shapes(expected_base, base, repr(str(folder / base_name)))
        tensors = {f"base.{key}": value for key, value in base.items()}
        if ensemble_size is None:
            ensemble_size = _count_branches(folder, branch_name)
        without_affect = []
        for number in range(ensemble_size):
            file = folder / branch_name.format(number + 1)
            branch = load_torch(file)
            expected = expected_branch
            if not any(key.startswith("fc_dimensional.") for key in branch):
                without_affect.append(number)
                expected = {key: shape for key, shape in expected_branch.items() if not key.startswith("fc_dimensional.")}
            check_shapes(expected, branch, repr(str(file)))
            tensors |= {f"convolutional_branches.{number}.{key}": value for key, value in branch.items()}
    return tensors, tuple(without_affect)


def write_published(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    card: ModelCard | None = None,
    name: str = "esr",
    base_name: str = BASE_NAME,
    branch_name: str = BRANCH_NAME,
) -> Path:
    """Writes the published files and ``<name>.json``, all or nothing; branch files of a larger ensemble are removed.

    Args:
        folder: Where to; made if missing.
        tensors: State dict of an ESR network.
        card: What is true of the weights; input and labels go into the JSON file.
        name: Name of the JSON file, without suffix.
        base_name: File name of the shared base.
        branch_name: File name of a branch, with ``{}`` for its number from 1.

    Returns:
        The folder.

    Raises:
        StorageError: The files could not be written; the folder is as it was before.
        WeightsError: ``tensors`` are not the state of an ESR network.
        UsageError: ``branch_name`` has no ``{}``.
    """
    _check_names(None, branch_name)
    parts = _split(tensors)
    names = [base_name, *(branch_name.format(number) for number in range(1, len(parts)))]
    folder = Path(folder)
    existing = _branch_files(folder, branch_name).values() if folder.is_dir() else []
    with folder_update(folder, stale=[file.name for file in existing]) as staging:
        for file_name, part in zip(names, parts, strict=True):
            write_torch(part, staging / file_name)
        metadata = _metadata(staging, names, _is_diversified(parts[0]), card)
        (staging / f"{name}.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def _metadata(folder: Path, names: list[str], diversify: bool, card: ModelCard | None) -> dict[str, Any]:
    """Returns the toolkit's metadata, with paths relative to the folder, so that it can be moved."""
    facts: dict[str, Any] = {
        "ensemble_size": len(names) - 1,
        "diversify": diversify,
        "sha256": {name: digest_of(folder / name).removeprefix("sha256:") for name in names},
    }
    if card is not None:
        facts |= {
            "input_size": [card.input.height, card.input.width],
            "channel_order": card.input.color.upper(),
            "scale": "[0, 1]",
            "mean": list(card.input.mean),
            "std": list(card.input.std),
            "classes": list(card.label_set.words),
            "affect_order": ["valence", "arousal"],
            "licence": card.licence,
        }
    return {
        "model_paths": names,
        "framework": "pytorch",
        "format": "pt",
        "has_data": False,
        "inference_params": facts,
        "optimized": False,
        "optimizer_info": {},
    }


def _split(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Returns the state of the base and of each branch, with the names they have in their files."""
    base = {key.removeprefix("base."): value for key, value in tensors.items() if key.startswith("base.")}
    branches: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        found = re.fullmatch(r"convolutional_branches\.(\d+)\.(.+)", key)
        if found:
            branches.setdefault(int(found[1]), {})[found[2]] = value
        elif not key.startswith("base."):
            raise WeightsError(
                f"cannot write published ESR files: tensor {key!r} is not of an ESR network; give the network's state_dict()"
            )
    if not base or sorted(branches) != list(range(len(branches))):
        raise WeightsError(
            f"cannot write published ESR files: got {len(base)} base tensors and branches {sorted(branches)}, "
            "expected a base and branches 0, 1, ...; give the network's state_dict()"
        )
    return [base, *(branches[number] for number in range(len(branches)))]


def _is_diversified(base: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("cbam") for key in base)


def _expected_shapes(diversify: bool) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Returns name -> shape of the base's and of a branch's tensors, from the network itself, without allocating it."""
    import torch

    from emotion_perception.learners.esr.model import ESR

    with torch.device("meta"):
        network = ESR(1, diversify)
    base, branch = (part.state_dict() for part in (network.base, network.convolutional_branches[0]))
    return {key: tuple(v.shape) for key, v in base.items()}, {key: tuple(v.shape) for key, v in branch.items()}


def _branch_files(folder: Path, branch_name: str) -> dict[int, Path]:
    """Returns number (from 1) -> file of the branch files in a folder."""
    before, after = (re.escape(part) for part in branch_name.split("{}"))
    matches = ((re.fullmatch(f"{before}([1-9][0-9]*){after}", file.name), file) for file in folder.iterdir() if file.is_file())
    return {int(match[1]): file for match, file in matches if match}


def _count_branches(folder: Path, branch_name: str) -> int:
    numbers = sorted(_branch_files(folder, branch_name))
    if not numbers:
        raise WeightsError(f"weights folder {str(folder)!r} has no {branch_name.format(1)}; download the branches, or read 0 of them")
    gap = next((expected for expected, found in enumerate(numbers, 1) if found != expected), None)
    if gap is not None:
        missing, present = branch_name.format(gap), branch_name.format(numbers[-1])
        raise WeightsError(f"weights folder {str(folder)!r} has {present} but no {missing}; restore it, or give the ensemble_size to read")
    return len(numbers)


def _check_names(ensemble_size: int | None, branch_name: str) -> None:
    if branch_name.count("{}") != 1:
        raise UsageError(f"branch file name is {branch_name!r}, expected one {{}} in it for the branch's number, as in {BRANCH_NAME!r}")
    if ensemble_size is not None and ensemble_size < 0:
        raise UsageError(f"ensemble_size is {ensemble_size}, expected 0 or more; None reads all that are there")
