"""Weights on disk: safetensors folders in and out, published torch files in. Nothing read here is ever executed."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.cards import CARD_NAME, ModelCard
from emotion_perception.engine.downloads import cache_dir, digest_of, fetch, fetch_url
from emotion_perception.engine.errors import StorageError, WeightsError
from emotion_perception.engine.storage import atomic_write, folder_reading, folder_update

if TYPE_CHECKING:
    import torch

__all__ = [
    "EXPORTED_NAME",
    "MODEL_NAME",
    "REPORT_NAME",
    "atomic_write",
    "cache_dir",
    "check_shapes",
    "digest_of",
    "fetch",
    "fetch_url",
    "folder_reading",
    "folder_update",
    "load_folder",
    "load_state",
    "load_torch",
    "read_card",
    "read_torch",
    "save_folder",
    "write_torch",
]

MODEL_NAME = "model.safetensors"
EXPORTED_NAME = "model.onnx"
REPORT_NAME = "optimize.json"


_SUFFIXES = (".safetensors", ".pt")


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of weights in a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)


def digest_of_weights(path: Path) -> str:
    """Returns what tells weights apart: the digests of a file of them, or of those in a folder."""
    return " ".join(map(digest_of, weight_files(path) if path.is_dir() else [path]))


def save_folder(
    path: str | Path, card: ModelCard, tensors: Mapping[str, torch.Tensor], files: Mapping[str, str | Path] | None = None
) -> Path:
    """Writes a weights folder: ``card.json``, ``model.safetensors`` and further files, all or nothing.

    Weights that were in the folder are replaced in one step, an exported model of theirs that is not written anew is removed, and
    other files stay.

    Args:
        path: The folder; made if missing.
        card: What is true of these weights.
        tensors: The network's state, stored in the types given.
        files: Further files, name in the folder -> where to copy it from.

    Raises:
        StorageError: The folder could not be written, e.g. the disk is full; it is as it was before.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Views of one storage cannot be stored by safetensors, and channels-last is a matter of running, not of storing.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with folder_update(path, stale=(MODEL_NAME, CARD_NAME, EXPORTED_NAME, REPORT_NAME)) as folder:
        (folder / CARD_NAME).write_text(json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for name, source in (files or {}).items():
            shutil.copyfile(source, folder / name)
        try:
            save_file(plain, folder / MODEL_NAME, metadata={"learner": card.learner})
        except SafetensorError as error:
            raise StorageError(f"cannot write weights into {str(path)!r}: {error}; free some space or choose another folder") from error
        # safetensors lets only the owner read its files; whoever may read the card may read the weights.
        (folder / MODEL_NAME).chmod((folder / CARD_NAME).stat().st_mode)
    return Path(path)


def read_card(path: str | Path, learner: str) -> ModelCard:
    """Reads the card of a weights folder that `save_folder` wrote.

    Args:
        path: The folder.
        learner: Registered name of the learner that wants the weights.

    Raises:
        WeightsError: The folder or its card is missing, damaged, of another version or of another learner.
    """
    folder = _existing(path)
    with folder_reading(folder):
        return _own_card(folder, learner)


def load_folder(path: str | Path, learner: str) -> tuple[ModelCard, dict[str, torch.Tensor]]:
    """Reads a weights folder that `save_folder` wrote.

    Args:
        path: The folder.
        learner: Registered name of the learner that wants the weights.

    Returns:
        The card, and the tensors on the CPU; floats of any width as float32.

    Raises:
        WeightsError: The folder, its card or its tensors are missing, damaged, of another version or of another learner.
    """
    folder = _existing(path)
    with folder_reading(folder):
        return _own_card(folder, learner), _read_safetensors(folder / MODEL_NAME, learner)


def published_file(path: str | Path | None, names: Iterable[str]) -> Path | None:
    """Returns the published file that a path stands for; None for a folder written by `save_folder`, for nothing, and for anything else.

    Args:
        path: A file, which is taken to be one whatever it is called, or a folder.
        names: What such files are called, best first.
    """
    place = Path(path or "")
    if path is None or (place / CARD_NAME).is_file():
        return None
    if place.is_file():
        return place
    return next((place / name for name in names if (place / name).is_file()), None)


def load_state(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Loads tensors into a network strictly.

    Args:
        model: The network; unchanged after an error.
        tensors: Its whole state, by name.
        source: Where they come from, for the message.

    Raises:
        WeightsError: A tensor is missing, has another shape, or is one too many; the first such is named.
    """
    check_shapes({key: tuple(value.shape) for key, value in model.state_dict().items()}, tensors, source)
    model.load_state_dict(tensors)


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Raises `WeightsError` that names the first tensor that is missing, has another shape, or is one too many."""
    way_out = "these are weights of another model or variant"
    for key, shape in expected.items():
        if key not in tensors:
            raise WeightsError(f"{source} lacks tensor {key!r}, expected with shape {shape}; {way_out}")
        if tuple(tensors[key].shape) != shape:
            raise WeightsError(f"{source}: tensor {key!r} has shape {tuple(tensors[key].shape)}, expected {shape}; {way_out}")
    for key in tensors:
        if key not in expected:
            raise WeightsError(f"{source} has tensor {key!r}, which the model does not have; {way_out}")


def load_torch(path: str | Path, inside: str | None = None) -> dict[str, torch.Tensor]:
    """Reads a published torch file (legacy or zip format, saved on any device) that holds a state dict, without running its code.

    Args:
        path: The file.
        inside: The entry that holds the state dict, in files that hold more than that; a file that is a state dict itself is taken too.

    Returns:
        The tensors on the CPU, in the file's order and types.

    Raises:
        WeightsError: The file is missing, empty, truncated, not a torch file, or holds something other than named tensors.
    """
    import torch

    content = read_torch(path)
    if inside is not None and isinstance(content, dict):
        content = content.get(inside, content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        kind = type(content).__name__
        raise WeightsError(f"weights file {str(path)!r} holds a {kind} that is not a state dict; give the model's own file")
    return dict(content)


def read_torch(path: str | Path) -> Any:
    """Reads what a published torch file holds, on the CPU, without running its code.

    Args:
        path: The file.

    Raises:
        WeightsError: The file is missing, empty, truncated, not a torch file, holds more than tensors and plain values, or is the
            checkpoint of a training.
    """
    import torch

    file = Path(path)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights file {str(file)!r} is not there; give a folder that holds it, or call download()") from None
    except Exception as error:  # a damaged pickle can fail in any way, and each means the same to the user
        reason = str(error).split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__
        reason = f"truncated or not a torch state dict ({reason})"
        raise WeightsError(f"cannot read weights file {str(file)!r}: {reason}; download it again") from error
    if isinstance(content, dict) and {"fingerprint", "position"} <= content.keys():
        way_out = "call fit with its folder to finish it, or give the folder of weights that it ended in"
        raise WeightsError(f"weights file {str(file)!r} is the checkpoint of a training; {way_out}")
    return content


def write_torch(content: Mapping[str, Any], file: str | Path) -> None:
    """Writes a torch file of named tensors and plain values, as published code reads it; mappings of tensors may be inside.

    Args:
        content: What to write; tensors are stored on the CPU.
        file: Where to.

    Raises:
        OSError: It could not be written.
    """
    import torch

    # Clones: of a view, torch stores the whole tensor behind it. Through memory: torch's own writer hides why it cannot write.
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        return value.detach().cpu().contiguous().clone() if isinstance(value, torch.Tensor) else value

    buffer = io.BytesIO()
    torch.save(plain(content), buffer)
    Path(file).write_bytes(buffer.getbuffer())


def _existing(path: str | Path) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "not there"
        raise WeightsError(f"weights folder {str(folder)!r} is {kind}; give a folder written by save() or download()")
    return folder


def _own_card(folder: Path, learner: str) -> ModelCard:
    try:
        card = ModelCard.read(folder)
    except WeightsError as error:
        raise error if str(folder) in str(error) else WeightsError(f"{str(folder)!r}: {error}") from None
    if card.learner != learner:
        raise WeightsError(f"{str(folder)!r} holds weights of {card.learner!r}, not of {learner!r}; load them with that learner")
    return card


def _read_safetensors(file: Path, learner: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:
            owner = (content.metadata() or {}).get("learner", learner)
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  # it is no mapping
    except FileNotFoundError:
        raise WeightsError(f"{str(file)!r} is not there; give a folder written by save() or download()") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"cannot read {str(file)!r}: truncated or not a safetensors file ({error}); save or download it again") from None
    if owner != learner:
        raise WeightsError(f"{str(file)!r} holds weights of {owner!r}, though the card beside it says {learner!r}; restore the right file")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
