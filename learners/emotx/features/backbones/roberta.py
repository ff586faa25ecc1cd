"""RoBERTa-base (Liu et al. 2019) as transformers has it, from local files: its pooled output is the feature of an utterance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.errors import EmotionPerceptionError, MissingDependencyError, WeightsError
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.emotx.features.backbones.catalogue import TEXT_ADDRESS, TEXT_FOLDER, find, text_files

if TYPE_CHECKING:
    import torch

_BATCH = 16
_TITLE = "RoBERTa"
# Tables of indices, which some versions of transformers store and others do not.
_TABLES = ("embeddings.position_ids", "embeddings.token_type_ids")


class Roberta:
    """Makes features of utterances.

    Attributes:
        width: Length of a feature: 768.
    """

    def __init__(self, pretrained: bool, num_labels: int, folder: str | Path | None, device: torch.device) -> None:
        """Opens the network and its tokenizer; the network is never asked for.

        Args:
            pretrained: Use RoBERTa as it was published, not as EmoTx' authors fine-tuned it.
            num_labels: Which fine-tuned one: 10, 25 or 26 (Emotic).
            folder: Where the folder ``roberta-base`` and the fine-tuned files are; the cache if None.
            device: Where the network goes.

        Raises:
            WeightsError: A file is missing, damaged, or of another network.
            MissingDependencyError: transformers is not installed.
        """
        base = find(_TITLE, (TEXT_FOLDER,), f"{TEXT_ADDRESS} (config.json, vocab.json, merges.txt, model.safetensors)", folder)
        try:
            import transformers
        except ImportError:
            raise MissingDependencyError("transformers", "features of subtitles", "emotx") from None
        names, address = ((), "") if pretrained else text_files(num_labels)
        try:
            self._tokenizer: Any = transformers.RobertaTokenizer.from_pretrained(str(base), local_files_only=True)
            if pretrained:
                network = _pretrained(transformers, base)
            else:
                config = transformers.RobertaConfig.from_pretrained(str(base), local_files_only=True)
                network = transformers.RobertaModel(config)
                _fill(network, find(_TITLE, names, address, folder))
        except (OSError, ValueError) as error:
            if isinstance(error, EmotionPerceptionError):
                raise
            reason = str(error).splitlines()[0]
            raise WeightsError(f"cannot read {_TITLE} from {str(base)!r}: {reason}; get its files from {TEXT_ADDRESS}") from None
        self.width = int(network.config.hidden_size)
        self._network = network.requires_grad_(False).eval().to(device)
        self._device = device

    def __call__(self, utterances: Sequence[str]) -> FloatArray:
        """Returns the features of some utterances, ``(n, width)`` float32; n may be 0."""
        import torch

        rows = [np.zeros((0, self.width), np.float32)]
        for start in range(0, len(utterances), _BATCH):
            texts = list(utterances[start : start + _BATCH])
            # Two places of the table of positions are for what is not a word.
            longest = self._network.config.max_position_embeddings - 2
            words = self._tokenizer(texts, padding="longest", truncation=True, max_length=longest, return_tensors="pt")
            with torch.inference_mode():
                pooled = self._network(words["input_ids"].to(self._device), words["attention_mask"].to(self._device)).pooler_output
            rows.append(pooled.float().cpu().numpy())
        return np.concatenate(rows)


def _pretrained(transformers: Any, base: Path) -> Any:
    network, report = transformers.RobertaModel.from_pretrained(str(base), local_files_only=True, output_loading_info=True)
    missing = sorted(key for key in report["missing_keys"] if key not in _TABLES)
    if missing:  # transformers would fill it with random numbers
        raise WeightsError(f"{str(base)!r} lacks tensor {missing[0]!r} of {_TITLE}; get its files from {TEXT_ADDRESS}")
    return network


def _fill(network: torch.nn.Module, file: Path) -> None:
    """Loads a fine-tuned file strictly: a state dict, or a whole pickled module as EmoTx' authors stored it."""
    from emotion_perception.engine.weights import load_state

    own = network.state_dict()
    inner = {name.removeprefix("RoBERTa."): value for name, value in _tensors(file).items() if not name.startswith("logits.")}
    tensors = {name: value for name, value in inner.items() if name not in _TABLES or name in own}
    tensors = {**{name: own[name] for name in _TABLES if name in own}, **tensors}
    load_state(network, tensors, f"{str(file)!r} ({_TITLE})")


class _Shell:
    """Stands for an object of any class in a pickled file: keeps what it is made of and runs nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Shell:
        """Makes one, whatever it is called with."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.content: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        """Keeps the attributes."""
        self.content = state if isinstance(state, dict) else {}


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    """Reads the tensors of a torch file by name; of a pickled module too, without running any of its code."""
    import torch

    from emotion_perception.engine.weights import load_torch

    serialization: Any = torch.serialization
    if not hasattr(serialization, "get_unsafe_globals_in_checkpoint"):  # torch before 2.6 can only read plain state dicts safely
        return load_torch(file)
    try:
        classes = serialization.get_unsafe_globals_in_checkpoint(str(file))
        if not classes:
            return load_torch(file)
        with serialization.safe_globals([(_Shell, name) for name in classes]):
            module = torch.load(file, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way, and each means the same to the user
        reason = str(error).split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__
        raise WeightsError(f"cannot read weights file {str(file)!r}: not a torch file of tensors ({reason}); download it again") from error
    return dict(_walk(module, ""))


def _walk(module: Any, prefix: str) -> list[tuple[str, torch.Tensor]]:
    """Lists the parameters and buffers of a module of shells, and of those in it."""
    import torch

    found: list[tuple[str, torch.Tensor]] = []
    content = module.content if isinstance(module, _Shell) else {}
    for kind in ("_parameters", "_buffers"):
        held = content.get(kind) or {}
        found += [(prefix + name, value.detach()) for name, value in held.items() if isinstance(value, torch.Tensor)]
    for name, inner in (content.get("_modules") or {}).items():
        found += _walk(inner, f"{prefix}{name}.")
    return found
