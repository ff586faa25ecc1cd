"""The contract: every learner has the same verbs, and they keep the same promises (checked by `engine.testing`)."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.data import Color
from emotion_perception.engine.devices import BACKENDS, check_device, torch_device
from emotion_perception.engine.errors import EmotionPerceptionError, NotLoadedError, UsageError, WeightsError, check_words
from emotion_perception.engine.storage import SameFile
from emotion_perception.engine.target import Emotions, FloatArray

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.inference import Backend, OnnxBackend
    from emotion_perception.engine.inference.backends import Inputs
    from emotion_perception.engine.inference.choice import Choice
    from emotion_perception.engine.inference.parity import Tolerance
    from emotion_perception.engine.settings import LearnerSettings

logger = logging.getLogger(__name__)


class Learner(ABC):
    """Base of all learners.

    A learner adds a card, a torch module, how its outputs become `Emotions`, and how it is trained; everything else is here.
    Construction downloads, allocates and prints nothing. A learner may be used from several threads for `infer`; the other verbs
    change it and belong in one thread.

    Attributes:
        card: The card of the weights in use; before loading, that of the published or default model.
    """

    card: ModelCard = None  # type: ignore[assignment]  # every learner's class sets it

    # Names of what the network takes, in that order, and of what `deployed` makes it return.
    input_names: ClassVar[tuple[str, ...]] = ("images",)
    output_names: ClassVar[tuple[str, ...]]

    # The folder of weights that comes with the package, where there is one.
    default_weights: ClassVar[Path | None] = None

    # What reads a learner's settings, where it has more of them than options; see `LearnerSettings`.
    settings_class: ClassVar[type[LearnerSettings] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuses a concrete learner without a card as soon as its class is made."""
        super().__init_subclass__(**kwargs)
        # Not __abstractmethods__: that is only set after this was called.
        abstract = any(getattr(getattr(cls, name, None), "__isabstractmethod__", False) for name in dir(cls))
        if not abstract and not isinstance(cls.card, ModelCard):
            raise TypeError(f"{cls.__name__} needs a class attribute `card`, a ModelCard")

    def __init__(
        self,
        *,
        batch_size: int = 32,
        temp_path: str | Path = "temp",
        device: str = "auto",
        device_ind: tuple[int, ...] | list[int] = (0,),
        backend: str = "auto",
    ) -> None:
        """Stores the arguments.

        Args:
            batch_size: Inputs per forward pass, in training and evaluation.
            temp_path: Folder for downloads and exported models.
            device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``; without a GPU, ``cuda`` warns and uses the CPU.
            device_ind: Indices of the GPUs; one process uses the first, those of `torchrun` one each.
            backend: What runs the network. ``torch``; ``torch_bf16``, which computes in bfloat16, for processors and GPUs with units for
                it; ``onnxruntime``, which exports the model at `load` where that was not done before; ``tensorrt``, the same by TensorRT,
                on a GPU; ``auto``: an exported model beside the weights, else what `tune` found to be the fastest here, else torch.
        """
        check_device(device)
        check_words("backend", backend, BACKENDS)
        self.backend = backend
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, expected at least 1")
        self.batch_size = batch_size
        self.temp_path = temp_path
        self.device = device
        self.device_ind = device_ind
        self._model: torch.nn.Module | None = None
        self._backend: Backend | None = None
        self._folder: Path | None = None  # the weights are those in there
        self._sources: tuple[Path, ...] = ()  # files or a folder with the weights that training goes on from
        self._optimized: SameFile | None = None  # the exported model that `save` keeps

    # ---- what each learner brings -------------------------------------------------------------------------------------

    @abstractmethod
    def build_model(self, card: ModelCard) -> torch.nn.Module:
        """Builds the network a card describes, with fresh weights, in evaluation mode, on the CPU."""

    def deployed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Returns what back ends run and `optimize` exports: the network itself, or a copy of it made for speed.

        It takes what the network takes and returns a tuple of tensors, named by `output_names`. What is exported is made of a copy of the
        network on the CPU.
        """
        return model

    def inputs(self, batch: Any, color: Color = "rgb") -> Inputs:
        """Turns a batch into what the network takes: an array for each of `input_names`, n rows each.

        Arguments and errors are those of `infer`. A learner for pictures has nothing to add; another overrides this and `example`.
        """
        from emotion_perception.engine.vision.crops import network_input

        return (network_input(batch, self.card.input, color),)

    def example(self, count: int) -> Inputs:
        """Makes random inputs with ``count`` rows, of usual size, the same ones at each call: exports are made and checked with them.

        Axes that differ in size between two counts are those that may have any size in an exported model; what differs alike is one size.
        """
        from emotion_perception.engine.inference.calibration import random_pictures

        return (random_pictures(self.card.input, count),)

    def reference(self) -> Callable[[FloatArray], Any] | None:
        """Returns the network as its authors' code runs it, for the benchmark to compare with; None: as it is, eager.

        It takes what `outputs` takes and answers in whatever form that code does.
        """
        return None

    @abstractmethod
    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Turns what `deployed` returns (arrays named by `output_names`, n rows each) into `Emotions`."""

    @abstractmethod
    def fit(
        self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """Trains the model.

        Args:
            dataset: Training data, an `EmotionDataset`; a learner for clips takes data sets of its own.
            val_dataset: Validation data; the best state on it is what the learner holds afterwards.
            logging_path: Folder for logs, curves and checkpoints; an unfinished run in it is resumed.
            silent: Print no progress.
            verbose: Print a line per epoch (when not silent).

        Returns:
            ``{"history": [{"epoch": 1, "loss": ..., ...}, ...], ...}``, one row per epoch.
        """

    @abstractmethod
    def eval(self, dataset: Any = None) -> dict[str, Any]:
        """Measures the model on labelled data, as `fit` takes them, and returns named numbers."""

    @abstractmethod
    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        """Fetches files, verified and atomic, and returns the folder or file they are in.

        Args:
            path: Where to put them; `temp_path` if None.
            mode: What to fetch; which modes there are is the learner's own.
            url: Another address (http, https or file) than the one the card names.
        """

    # ---- shared verbs -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Registered name."""
        return self.card.learner

    @property
    def model(self) -> torch.nn.Module:
        """The network. Raises `NotLoadedError` before there is one.

        Where an exported model was loaded, the network is read from the weights beside it when it is first asked for.
        """
        if self._model is None:
            if self._folder is None:
                raise self._not_loaded()
            self._model = self._read_model(self._folder)[1]
        return self._model

    @property
    def loaded(self) -> bool:
        """Whether `infer` would work."""
        return self._backend is not None

    @property
    def backend_name(self) -> str:
        """What runs the network and where, for people: ``torch cpu``, ``onnxruntime cpu int8``; empty before there are weights."""
        return getattr(self._backend, "name", "")

    def infer(self, batch: Any, color: Color = "rgb") -> Emotions:
        """Judges one input or a batch.

        Args:
            batch: A picture (path, `Image`, array or tensor; a face model takes face crops) or a list of them, or an array or tensor
                with a batch axis. Any size; arrays as `Image.from_array` takes them. What a learner for clips takes is its own.
            color: Channel order of arrays and tensors in ``batch``.

        Returns:
            `Emotions` with a row per input; it unpacks into ``categories, affect``.

        Raises:
            NotLoadedError: There are no weights yet.
            InputError: An input that cannot be used; none is judged then.
        """
        if self._backend is None:
            raise self._not_loaded()
        x = self.inputs(batch, color)
        return self.emotions(self.outputs(x)) if len(x[0]) else self._no_emotions()

    def outputs(self, x: NDArray[Any] | Inputs) -> dict[str, FloatArray]:
        """Runs the network, ``batch_size`` inputs at a time.

        Args:
            x: What `inputs` returns, at least one row; its only array may be given as it is: ``(n, 3, height, width)`` float32.

        Returns:
            The outputs by name, n rows each.

        Raises:
            NotLoadedError: There are no weights yet.
        """
        from emotion_perception.engine.inference.backends import run_batches

        return run_batches(self._running(), x if isinstance(x, tuple) else (x,), self.batch_size, self.output_names)

    def save(self, path: str | Path, *, half: bool = False) -> Path:
        """Writes card, weights and, after `optimize`, the optimised model into a folder, all or nothing.

        Args:
            path: The folder; `load` reads it wherever it is moved to.
            half: Store the weights as float16, in half the space; `load` makes them float32 again, with 11 bits of precision left.

        Returns:
            The folder.
        """
        from emotion_perception.engine.inference.parity import report_beside
        from emotion_perception.engine.weights import EXPORTED_NAME, REPORT_NAME, save_folder

        tensors = self.model.state_dict()
        if half:
            tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
        files = {}
        if self._optimized:
            files[EXPORTED_NAME] = self._optimized.path()
            if (report := report_beside(files[EXPORTED_NAME])).is_file():
                files[REPORT_NAME] = report
        return save_folder(Path(path), self.card, tensors, files)

    def load(self, path: str | Path | None = None) -> None:
        """Reads a folder written by `save`; nothing in it is ever executed. A model optimised before is used for `infer`, without torch.

        Args:
            path: The folder; the weights that come with the package if None.

        Raises:
            WeightsError: Missing, truncated or another learner's files; the learner stays as it was.
        """
        from emotion_perception.engine.weights import EXPORTED_NAME, read_card

        if path is None and self.default_weights is None:
            raise UsageError(f"{self.name} comes without weights; give the folder of some, or download() them")
        folder = Path(path or self.default_weights or "")
        card = read_card(folder, self.name)
        exported = folder / EXPORTED_NAME if (folder / EXPORTED_NAME).is_file() else None
        if exported is not None and not self.backend.startswith("torch"):
            backend = self._open_exported(exported, card)
            self.card = card
            self._use(None, backend, folder)
            self._optimized = SameFile(exported)
            return
        if not self._use_remembered(folder, card):
            card, model = self._read_model(folder)
            self.card = card
            self._use(model, folder=folder)
        self._optimized = None if exported is None else SameFile(exported)
        self._obey()

    def tune(self) -> str:
        """Finds out, once, which back end is the fastest on this machine, remembers it, and uses it for `infer`.

        With ``backend="auto"`` and weights from a folder, torch is measured against an export of the network to ONNX, whose answers are
        the same within 1e-4. That takes some seconds (``EMOTION_PERCEPTION_TUNE=0`` forbids it); later, `load` knows. Otherwise, or
        where ONNX Runtime or the exporter is not installed, nothing changes. Call it after `load`, before anything changes the network.

        Returns:
            What runs the network now, as `backend_name`.
        """
        from emotion_perception.engine.inference import TorchBackend
        from emotion_perception.engine.inference.choice import may_measure, measure

        if self.backend != "auto" or self._folder is None or not isinstance(self._backend, TorchBackend):
            return self.backend_name
        choice = self._choice(self._folder, self.card)
        exported = None
        fastest = choice.backend
        if fastest is None and may_measure():
            try:
                exported = self._export_once(choice.file)
            except EmotionPerceptionError as error:
                logger.info("%s stays on torch: %s", self.name, error)
                return self.backend_name
            fastest = choice.remember(measure({"torch": self._backend, "onnxruntime": exported}, self.example(1)))
        if fastest == "onnxruntime":
            self._backend = exported or self._open_exported(choice.file, self.card)
        return self.backend_name

    def optimize(
        self,
        target_device: str | None = None,
        do_constant_folding: bool = True,
        *,
        precision: str = "fp32",
        calibration: Any = None,
        labelled: Any = None,
        tolerance: Tolerance | None = None,
    ) -> Path:
        """Exports the model to ONNX, checks that it gives the same answers, and uses it for `infer` from then on.

        Args:
            target_device: ``cpu`` or ``cuda``; the learner's own device if None.
            do_constant_folding: Fold constants in the exported graph; for int8 that is always done.
            precision: ``fp32``, ``fp16`` (half the size) or ``int8`` (a quarter of the size, and faster on a CPU). int8 keeps layers in
                fp32 where they would cost too much.
            calibration: What to take the ranges of int8 from and to check on: a data set, a folder of pictures, or a list as `infer`
                takes it. None: for a face model, variants of a bundled portrait.
            labelled: A data set as `eval` takes it, to compare the accuracy on, before and after.
            tolerance: How far the answers may be off, see `Tolerance`; by default 1e-4 for fp32, 0.02 for fp16, 0.1 for int8, and for
                those two 98 % agreement and half a point of accuracy.

        Returns:
            The ONNX file, in `temp_path`, with a report on parity, size and speed beside it; `save` copies both beside the weights.

        Raises:
            NotLoadedError: There are no weights yet.
            UsageError: Another precision, or int8 without calibration.
            WeightsError: The tolerance cannot be held; nothing is written, and `infer` goes on as before.
        """
        from emotion_perception.engine.inference.optimization import optimize

        device = target_device or self.device
        check_device(device)
        file = Path(self.temp_path) / f"{self.name}.onnx"

        def score(backend: Backend) -> dict[str, Any]:
            other = copy.copy(self)
            other._backend = backend
            return other.eval(labelled)

        on_cpu = copy.copy(self)
        on_cpu._model = copy.deepcopy(self.model).cpu()
        self._backend = optimize(
            on_cpu,
            file,
            device=device,
            precision=precision,
            do_constant_folding=do_constant_folding,
            calibration=calibration,
            score=None if labelled is None else score,
            tolerance=tolerance,
        )
        if self.backend == "tensorrt" and device != "cpu":
            self._backend = self._open_exported(file, self.card)
        self._optimized = SameFile(file)
        return file

    def reset(self) -> None:
        """Clears state over time; a learner that judges its inputs one by one has none."""
        return

    def torch_device(self) -> torch.device:
        """Returns the torch device that ``device`` stands for on this machine; under `torchrun` each process has its own GPU."""
        return torch_device(self.device, self.device_ind, self.name)

    # ---- for learners -------------------------------------------------------------------------------------------------

    def _use(
        self, model: torch.nn.Module | None, backend: Backend | None = None, folder: Path | None = None, files: Sequence[Path] = ()
    ) -> None:
        """Makes a network current.

        Args:
            model: The network; None where it is to be read from ``folder`` when it is asked for.
            backend: What runs it; torch if None.
            folder: Where its weights are from, so that what was found out about them can be remembered.
            files: Published files that they are from instead.
        """
        from emotion_perception.engine.inference import TorchBackend

        if backend is None:
            assert model is not None
            backend = TorchBackend(model, self.output_names, self.torch_device(), self.deployed, bf16=self.backend == "torch_bf16")
        if folder is not None or model is not self._model:  # not where the same network was trained further
            self._sources = (*([folder] if folder else ()), *files)
        if files and self.backend in ("onnxruntime", "tensorrt"):
            logger.warning("%s: published files run in torch; save() them, and that folder is exported when it is loaded", self.name)
        self._model, self._backend, self._folder, self._optimized = model, backend, folder, None

    def learns_from(self, *datasets: EmotionDataset | None) -> dict[str, Any]:
        """Returns digests of the targets, and of the weights that a training goes on from, by which `fit` tells its runs apart."""
        from emotion_perception.engine.weights import digest_of_weights

        start = " ".join(map(digest_of_weights, self._sources))  # fresh weights, of which there is none, follow from the seed
        return {"targets": [part.targets.digest() for part in datasets if part is not None], "start": start}

    def _fresh(self, card: ModelCard, seed: int) -> torch.nn.Module:
        """Builds the network that a card describes with weights that only the seed decides."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build_model(card)

    def _running(self) -> Backend:
        """Returns what runs the network for `outputs`; a learner may put something of its own around it."""
        if self._backend is None:
            raise self._not_loaded()
        return self._backend

    def _read_model(self, folder: Path) -> tuple[ModelCard, torch.nn.Module]:
        """Reads card and network from a folder of weights."""
        from emotion_perception.engine.weights import load_folder

        card, tensors = load_folder(folder, self.name)
        model = self.build_model(card)
        self._load_state(model, tensors, folder)
        return card, model

    def _obey(self) -> None:
        """Exports the network, where ONNX Runtime is asked for and torch runs it."""
        from emotion_perception.engine.inference import TorchBackend

        if self.backend in ("onnxruntime", "tensorrt") and self._folder is not None and isinstance(self._backend, TorchBackend):
            self._backend = self._export_once(self._choice(self._folder, self.card).file)

    def _export_once(self, file: Path) -> OnnxBackend:
        """Opens the cache's export of the network; makes it first where it is missing."""
        from emotion_perception.engine.inference import export_onnx

        if not file.is_file():
            logger.info("%s is exported to ONNX, once for these weights", self.name)
            ends: dict[str, Any] = {"input_names": self.input_names, "example": self.example}
            export_onnx(self.deployed(copy.deepcopy(self.model).cpu()), file, self.card, self.output_names, **ends)
        return self._open_exported(file, self.card)

    def _use_remembered(self, folder: Path, card: ModelCard, model: torch.nn.Module | None = None) -> bool:
        """Uses the export in the cache, of a network read already or not, where it is the fastest here or asked for; says whether."""
        from emotion_perception.engine.inference.choice import is_known

        if self.backend.startswith("torch") or not is_known(self.name):
            return False
        choice = self._choice(folder, card)
        if (self.backend == "auto" and choice.backend != "onnxruntime") or not choice.file.is_file():
            return False
        backend = self._open_exported(choice.file, card)
        self.card = card
        self._use(model, backend, folder)
        return True

    def _choice(self, folder: Path, card: ModelCard) -> Choice:
        from emotion_perception.engine.inference.choice import Choice

        return Choice.of(folder, card, self.device)

    def _open_exported(self, file: Path, card: ModelCard) -> OnnxBackend:
        """Opens an exported model of the network that a card describes."""
        from emotion_perception.engine.inference import OnnxBackend

        exported = OnnxBackend(file, self.output_names, self.device, self.name, self.input_names, self.backend == "tensorrt")
        if dict(exported.card.architecture) != dict(card.architecture):
            other = f"{file.name} in {str(file.parent)!r} is of another network than the weights beside it"
            raise WeightsError(f"{other}; run optimize and save again")
        return exported

    def _load_state(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], source: str | Path) -> None:
        """Loads tensors into a network strictly, or raises `WeightsError` that names the first misfit."""
        from emotion_perception.engine.weights import load_state

        load_state(model, tensors, f"{str(source)!r} ({self.name})")

    def _no_emotions(self) -> Emotions:
        labels = self.card.label_set
        return Emotions(labels, np.zeros((0, len(labels)), np.float32), np.zeros((0, 2), np.float32) if self.card.affect else None)

    def _not_loaded(self) -> NotLoadedError:
        return NotLoadedError(f"{self.name} has no weights yet; call load(folder), or download() and then load()")
