"""`FacialEmotionLearner`: ESR behind the interface that the OpenDR toolkit documents, and behind the contract of all learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.errors import DatasetError, UsageError, check_words
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.learners.esr.anytime import Anytime, check_limits
from emotion_perception.learners.esr.card import CARD
from emotion_perception.learners.esr.checkpoints import BASE_NAME, BRANCH_NAME, read_published, write_published
from emotion_perception.learners.esr.ensemble import ensemble_of, judged_class, softmax, votes_of

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.datasets import EmotionDataset
    from emotion_perception.engine.inference import Backend
    from emotion_perception.learners.esr.model import ESR
    from emotion_perception.learners.esr.training import Recipe


class FacialEmotionLearner(Learner):
    """Judges emotion, valence and arousal in face crops with an ensemble with shared representations (ESR).

    Attributes:
        dataset_path: Where `download` with mode ``data`` put its data set; `base_path_to_dataset` before.
    """

    card = CARD
    output_names: ClassVar[tuple[str, ...]] = ("probabilities", "affect", "logits", "branch_affect")
    default_weights: ClassVar[Path] = Path(__file__).parent / "weights"

    def __init__(
        self,
        lr: float | None = None,
        batch_size: int = 32,
        temp_path: str | Path = "./temp",
        device: str = "auto",
        device_ind: Sequence[int] = (0,),
        validation_interval: int = 1,
        max_training_epoch: int = 2,
        momentum: float = 0.9,
        ensemble_size: int = 9,
        base_path_experiment: str | Path = "./experiments/",
        name_experiment: str = "esr_9",
        dimensional_finetune: bool = True,
        categorical_train: bool | None = None,
        base_path_to_dataset: str | Path = "./data/AffectNet",
        max_tuning_epoch: int = 1,
        diversify: bool = False,
        *,
        backend: str = "auto",
        voting: str = "probability",
        confidence: float | None = None,
        budget_ms: float | None = None,
        schedule: str = "published",
        later_epochs: int | None = None,
        images_per_class: int = 5000,
        branch_share: float = 1.0 / 3.0,
        weight_decay: float = 0.0,
        optimizer: str | None = None,
        affect_fit: str = "closed_form",
        input_size: int | None = None,
        small_size: int = 64,
        small_epochs: int = 0,
        crop_scale: float = 1.0,
        augment: bool = True,
        augment_light: bool = True,
        keep_of_start: float = 0.0,
        precision: str = "auto",
        diversity_weight: float = 0.1,
        seed: int = 0,
    ) -> None:
        """Stores the arguments; the first sixteen are those of the published interface, in its order.

        Args:
            lr: Initial learning rate; None = 0.1, as published, or 0.001 for AdamW.
            batch_size: Pictures per step and per forward pass.
            temp_path: Folder for downloads and exported models.
            device: ``auto``, ``cpu`` or ``cuda``.
            device_ind: Index of the GPU.
            validation_interval: Validate after every so many epochs.
            max_training_epoch: Epochs of categorical training (published schedule: of the first branch).
            momentum: Of SGD.
            ensemble_size: Branches of a new network; loaded weights bring their own number.
            base_path_experiment: Folder of experiments; `save` and `load` of the published interface use it.
            name_experiment: Name in the metadata of saved files.
            dimensional_finetune: Whether `fit` trains the affect heads; without, a new network gives no valence and arousal.
            categorical_train: Whether `fit` trains base and branches; None = yes, unless `load` fixed the backbone.
            base_path_to_dataset: AffectNet folder that `fit` and `eval` use without a data set: all pictures of its parts.
            max_tuning_epoch: Epochs of the affect heads, with ``affect_fit="gradient"``.
            diversify: Use CBAM and the diversity loss (ESR*).
            backend: What runs the network; see `Learner`.
            voting: ``probability`` (mean over branches) or ``plurality`` (most branches, ties broken by probability).
            confidence: From above 0.5 to 1: leave out branches that will not, with this confidence, change the class; 1: cannot. None: no.
            budget_ms: Milliseconds for one pass of up to ``batch_size`` faces: no more branches are begun that would probably end later, so
                that results depend on how busy the machine is. The shared layers and the first branch always run.
            schedule: ``published`` (branch after branch) or ``joint`` (all branches in one pass).
            later_epochs: Published schedule: epochs of every later branch; None = 40 % of ``max_training_epoch``, as published.
            images_per_class: Published schedule: most pictures per class in each branch's fresh subset.
            branch_share: Joint schedule: share of every batch that each branch learns from.
            weight_decay: Of the optimizer.
            optimizer: ``sgd`` or, in the joint schedule, ``adamw``, which gets further in few epochs; None = ``adamw`` where it can be.
            affect_fit: ``closed_form`` (least squares) or ``gradient``.
            input_size: Side of the network's input in pixels; None = 96 for a new network, what the card says for a loaded one. Another
                value makes `fit` go on training a loaded network at that size.
            small_size: Side of the pictures in the first ``small_epochs`` epochs of the joint schedule.
            small_epochs: How many epochs use small pictures.
            crop_scale: Crop of a new network, in units of the face detector's box.
            augment: Change training pictures at random.
            augment_light: Change their light, colour and sharpness, too, and cover parts; without, only scale, place, rotation and side.
            keep_of_start: Share, from 0 to below 1, that the weights loaded before have in those that `fit` ends with, which are a mean of
                both: it often judges better than either (Wortsman et al., CVPR 2022). It does not count for a new network.
            precision: Of training: ``auto`` (bf16 where there are units for it), ``fp32`` or ``bf16``.
            diversity_weight: Weight of the diversity loss.
            seed: Of everything random in training.
        """
        super().__init__(batch_size=batch_size, temp_path=temp_path, device=device, device_ind=tuple(device_ind), backend=backend)
        check_words("voting", voting, ("probability", "plurality"))
        check_words("schedule", schedule, ("published", "joint"))
        check_words("optimizer", optimizer, (None, "sgd", "adamw") if schedule == "joint" else (None, "sgd"))
        check_words("affect_fit", affect_fit, ("closed_form", "gradient"))
        check_limits(confidence, budget_ms)
        if ensemble_size < 1 or not 0.0 < branch_share <= 1.0 or min(input_size or 96, small_size) < 54:
            raise UsageError("ensemble_size must be at least 1, branch_share in (0, 1], input_size and small_size at least 54 pixels")
        if not 0.0 <= keep_of_start < 1.0:
            raise UsageError(f"keep_of_start is {keep_of_start}, expected 0, or a share below 1, as 0.5")
        optimizer = optimizer or ("adamw" if schedule == "joint" else "sgd")
        lr = lr if lr is not None else 0.001 if optimizer == "adamw" else 0.1
        if not lr > 0.0 or validation_interval < 1 or not 0 <= seed < 1 << 32:
            given = f"lr is {lr}, validation_interval {validation_interval}, seed {seed}"
            raise UsageError(f"{given}; expected lr above 0, validation_interval at least 1, seed from 0 to {(1 << 32) - 1}")
        self.lr, self.momentum, self.weight_decay, self.optimizer, self.seed = lr, momentum, weight_decay, optimizer, seed
        self.validation_interval, self.max_training_epoch, self.max_tuning_epoch = validation_interval, max_training_epoch, max_tuning_epoch
        self.ensemble_size, self.diversify, self.voting, self.schedule = ensemble_size, diversify, voting, schedule
        self.base_path_experiment, self.name_experiment = base_path_experiment, name_experiment
        self.dimensional_finetune, self.categorical_train = dimensional_finetune, categorical_train
        self.base_path_to_dataset = self.dataset_path = base_path_to_dataset
        self.later_epochs = later_epochs if later_epochs is not None else max(1, round(0.4 * max_training_epoch))
        self.images_per_class, self.branch_share, self.affect_fit = images_per_class, branch_share, affect_fit
        self.input_size, self.small_size, self.small_epochs, self.crop_scale = input_size, small_size, small_epochs, crop_scale
        self.augment, self.augment_light, self.precision, self.diversity_weight = augment, augment_light, precision, diversity_weight
        self.keep_of_start, self.confidence, self.budget_ms, self._anytime = keep_of_start, confidence, budget_ms, Anytime()
        self._backbone_fixed = False

    # ---- the network --------------------------------------------------------------------------------------------------

    def build_model(self, card: ModelCard) -> ESR:
        """Builds the network that a card describes, with fresh weights, in evaluation mode."""
        from emotion_perception.learners.esr.model import ESR

        return ESR(int(card.architecture["ensemble_size"]), bool(card.architecture["diversify"])).eval()

    def init_model(self, num_branches: int | None = None) -> None:
        """Makes a network with fresh, seeded weights.

        Args:
            num_branches: Number of branches; ``ensemble_size`` if None.
        """
        self.ensemble_size = num_branches or self.ensemble_size
        card = self.card.trained_here(
            title=f"ESR{'*' if self.diversify else ''}-{self.ensemble_size}, trained here",
            input=InputSpec(self.input_size or 96, self.input_size or 96),
            crop=CropSpec(scale=self.crop_scale),
            architecture={"ensemble_size": self.ensemble_size, "diversify": self.diversify},
        )
        model = self._fresh(card, self.seed)
        self.card, self._backbone_fixed = card, False
        self._use(model)

    def deployed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Returns a copy without batch norm, and with the ensemble's mean at its end; on a GPU its branches run all at once."""
        from emotion_perception.learners.esr.model import ESR, Deployed

        assert isinstance(model, ESR)
        return Deployed(model)

    def reference(self) -> Callable[[FloatArray], Any]:
        """Returns the published structure, as `reference.py` describes it."""
        from emotion_perception.learners.esr.reference import Published

        return Published(self._esr(), self.torch_device())

    def _running(self) -> Backend:
        """Returns the back end, or the anytime ensemble around it: what branches that are left out would have answered is NaN."""
        if self.confidence is None and self.budget_ms is None:
            return super()._running()
        branches = int(self.card.architecture["ensemble_size"])
        return self._anytime.around(super()._running(), branches, self.confidence, self.budget_ms, self.voting)

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        """Combines the branches.

        Args:
            outputs: ``probabilities`` (n, 8) and ``affect`` (n, 2), the means over the branches; ``logits`` (n, branches, 8) and
                ``branch_affect`` (n, branches, 2), NaN for branches that were left out.

        Returns:
            Mean probabilities and mean affect; the class by ``voting``; votes, agreement and spreads as extras, over the branches
            evaluated, and with ``confidence`` or ``budget_ms`` their number ``branches_used`` (n,).
        """
        logits, probabilities = outputs["logits"], outputs["probabilities"]
        votes = votes_of(logits)
        used = votes.sum(axis=1)
        index = judged_class(votes, probabilities, self.voting)
        extras = {
            "votes": votes,
            "agreement": (votes[np.arange(len(index)), index] / used).astype(np.float32),
            "probability_spread": np.nanstd(softmax(logits), axis=1),
        }
        if self.confidence is not None or self.budget_ms is not None:
            extras["branches_used"] = used
        if not self.card.affect:  # weights without affect heads; what the network gives there means nothing
            return Emotions(self.card.label_set, probabilities, None, index, extras)
        extras["affect_spread"] = np.nanstd(outputs["branch_affect"], axis=1)
        return Emotions(self.card.label_set, probabilities, np.clip(outputs["affect"], -1.0, 1.0), index, extras)

    # ---- training and evaluation --------------------------------------------------------------------------------------

    def fit(
        self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """Trains base and branches on class labels, then the affect heads.

        Starts from the weights in use, or from fresh ones. Sources: Siqueira et al., AAAI 2020, algorithm 1; `training.py`.

        Args:
            dataset: Training data; AffectNet in ``base_path_to_dataset`` if None.
            val_dataset: Validation data, with a ``dataset`` only; AffectNet's validation part if both are None.
            logging_path: Folder for history, curves and checkpoints; a run in it that was interrupted is continued exactly, one that
                is finished is only loaded.
            silent: Print no progress.
            verbose: Log progress (when not silent).

        Returns:
            ``history``: a row per epoch with stage, loss, branch accuracy, compute (pictures x branches) and validation numbers.
        """
        import torch

        from emotion_perception.engine.training.pictures import Pictures
        from emotion_perception.engine.training.running import run_stages
        from emotion_perception.engine.vision.augment import Augmentation
        from emotion_perception.learners.esr import training

        faces, affect_faces, val_faces, val_affect = self._datasets(dataset, val_dataset)
        fresh = not self.loaded
        if fresh:
            self.init_model()
        crop = self.card.crop.scale if self.card.crop else 1.0

        def pictures(source: EmotionDataset | None, train: bool) -> Pictures | None:
            change = Augmentation.of(self.augment, self.augment_light) if train else None
            return None if source is None else Pictures(source, self.batch_size, crop_scale=crop, augmentation=change, seed=self.seed)

        train, val = pictures(faces, True), pictures(val_faces, False)
        train_affect = pictures(affect_faces, True) if self.dimensional_finetune else None
        if not fresh and self.input_size:
            self.card = self.card.with_(input=InputSpec(self.input_size, self.input_size))
        device, model, recipe = self.torch_device(), self._esr(), self._recipe()
        model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented, but missing in torch's overloads
        start = {} if fresh or not self.keep_of_start else {name: value.clone() for name, value in model.state_dict().items()}
        stages = []
        if train and (self.categorical_train if self.categorical_train is not None else not self._backbone_fixed):
            if self.schedule == "joint":
                stages.append(training.joint_stage(model, train, val, recipe, device))
            else:
                stages.extend(training.published_stages(model, train, val, recipe, device))
        if train_affect and self.affect_fit == "gradient":
            stages.append(training.affect_stage(model, train_affect, pictures(val_affect, False), recipe, device))
        if train_affect and not len(train_affect.with_affect):
            raise DatasetError(f"{affect_faces!r} has no valence and arousal, nor a class to take them from; give data that has some")
        history = run_stages(
            model,
            stages,
            batch_size=self.batch_size,
            seed=self.seed,
            device=device,
            logging_path=logging_path,
            progress=verbose and not silent,
            fingerprint={
                **vars(recipe),
                "schedule": self.schedule,
                "branches": len(model.convolutional_branches),
                "diversify": self.diversify,
                "augment": Augmentation.kind(self.augment, self.augment_light),
                "crop_scale": crop,
                "affect_fit": self.affect_fit,
                "pictures": len(faces or affect_faces or ()),
                "other_pictures": [len(part or ()) for part in (affect_faces, val_faces, val_affect)],
                **self.learns_from(faces, affect_faces, val_faces, val_affect),
            },
        )
        if start and train:
            training.average(model, start, self.keep_of_start, train, recipe, device)
        if train_affect and self.affect_fit == "closed_form":
            training.solve_affect(model, train_affect, recipe, device)
        learned = repr(faces if faces is not None else affect_faces)
        # Without data, the heads are those of a new network and would judge at random.
        affect = train_affect is not None or (self.card.affect and bool(self.card.data))
        self.card = self.card.with_(data=learned, seed=self.seed, affect=affect, scores={}, recipe="")
        self._use(model)
        return {"history": history}

    def eval(self, dataset: Any = None, eval_type: str = "categorical", current_branch_on_training: int | None = None) -> dict[str, Any]:
        """Measures the ensemble and every branch.

        Args:
            dataset: Labelled data; AffectNet's validation part in ``base_path_to_dataset`` if None. A string is taken as
                ``eval_type``, the first argument of the published interface.
            eval_type: ``categorical`` or ``dimensional``; which part of AffectNet to use when no data set is given.
            current_branch_on_training: Measure the ensemble of the branches up to this index (from 0) only.

        Returns:
            What `engine.evaluation.measure` returns, and ``branches``: accuracy and affect errors of every branch alone. Where branches
            were left out, ``branches_used`` instead: how many were evaluated, on average.
        """
        from emotion_perception.engine.datasets import AffectNetCategorical, AffectNetDimensional
        from emotion_perception.engine.evaluation import measure, outputs_over

        if isinstance(dataset, str):
            dataset, eval_type = None, dataset
        if eval_type not in ("categorical", "dimensional"):
            raise UsageError(f"eval_type is {eval_type!r}, expected 'categorical' or 'dimensional'")
        if dataset is None:
            reader = AffectNetCategorical if eval_type == "categorical" else AffectNetDimensional
            dataset = reader(2, None, base_path_to_affectnet=self.base_path_to_dataset)
        outputs = outputs_over(self, dataset)
        branches = outputs["logits"].shape[1]
        used = branches if current_branch_on_training is None else current_branch_on_training + 1
        if not 1 <= used <= branches:
            raise UsageError(f"current_branch_on_training is {current_branch_on_training}, the network has branches 0 to {branches - 1}")

        def measured(first: int, last: int) -> dict[str, Any]:
            part = ensemble_of(outputs["logits"][:, first:last], outputs["branch_affect"][:, first:last])
            return measure(self.emotions(part), dataset.targets)

        result = measured(0, used)
        if np.isnan(outputs["logits"]).any():
            return result | {"branches_used": float(votes_of(outputs["logits"][:, :used]).sum(axis=1).mean())}
        single = [measured(i, i + 1) for i in range(used)]
        result["branches"] = [{key: value for key, value in one.items() if isinstance(value, float)} for one in single]
        return result

    # ---- files --------------------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | Path | None = None,
        *,
        state_dicts: Sequence[Mapping[str, torch.Tensor]] | None = None,
        base_path_to_save_model: str | Path | None = None,
        model_name: str | None = None,
        current_branch_save: int | None = None,
        verbose: bool = True,
        half: bool = False,
    ) -> Path:
        """Writes the model into a folder, all or nothing.

        Args:
            path: Folder for card, safetensors and, after `optimize`, the ONNX model; `load` reads it wherever it is moved to.
            state_dicts: What ``model.to_state_dict()`` returned; given, the published files ``Net-*.pt`` are written instead.
            base_path_to_save_model: Folder for those; ``base_path_experiment`` if None.
            model_name: Title on the card; for published files the name of their metadata file.
            current_branch_save: Write the branches up to this index (from 0) only; more than there are means all.
            verbose: Kept for the published interface; nothing is printed.
            half: Store the weights in ``path`` as float16.

        Returns:
            The folder.
        """
        if path is not None and state_dicts is None:
            if current_branch_save is not None:
                raise UsageError("current_branch_save counts for published files only; give state_dicts=model.to_state_dict() as well")
            if model_name:
                self.card = self.card.with_(title=model_name)
            return super().save(path, half=half)
        states = list(state_dicts) if state_dicts is not None else self._esr().to_state_dict()
        if current_branch_save is not None:
            states = states[: current_branch_save + 2]
        folder = Path(path or base_path_to_save_model or self.base_path_experiment)
        prefixes = ["base.", *(f"convolutional_branches.{i}." for i in range(len(states) - 1))]
        flat = {prefix + key: value for prefix, state in zip(prefixes, states, strict=True) for key, value in state.items()}
        write_published(folder, flat, self.card, name=model_name or self.name_experiment)
        return folder

    def load(
        self,
        path: str | Path | int | None = None,
        path_to_saved_network: str | Path | None = None,
        file_name_base_network: str = BASE_NAME,
        file_name_conv_branch: str = BRANCH_NAME,
        fix_backbone: bool = False,
        *,
        ensemble_size: int | None = None,
    ) -> None:
        """Reads weights: a folder written by `save`, or one with the published files.

        Args:
            path: The folder; the default weights of this package if None. An integer is taken as ``ensemble_size``, the first
                argument of the published interface.
            path_to_saved_network: The folder, in the words of the published interface.
            file_name_base_network: File of the base in a published folder.
            file_name_conv_branch: Files of the branches, with ``{}`` for their number from 1.
            fix_backbone: Make a later `fit` train the affect heads only.
            ensemble_size: Branches to read from a published folder; all that are there if None.

        Raises:
            WeightsError: Missing, truncated or other files; the learner stays as it was.
        """
        if isinstance(path, int):
            path, ensemble_size = None, path
        if ensemble_size is not None and ensemble_size < 1:
            raise UsageError(f"ensemble_size is {ensemble_size}, expected at least 1 branch")
        folder = Path(path or path_to_saved_network or self.default_weights)
        if (folder / file_name_base_network).is_file():
            self._load_published(folder, file_name_base_network, file_name_conv_branch, ensemble_size)
        else:
            super().load(folder)
        self.ensemble_size = int(self.card.architecture["ensemble_size"])
        self.diversify = bool(self.card.architecture["diversify"])
        self._backbone_fixed = fix_backbone

    def _load_published(self, folder: Path, base_name: str, branch_name: str, ensemble_size: int | None) -> None:
        tensors, without_affect = read_published(folder, ensemble_size, base_name, branch_name)
        branches = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("convolutional_branches."))
        card = CARD.with_(
            title=f"ESR-{branches} from {folder.name}",
            architecture={"ensemble_size": branches, "diversify": any(".cbam" in key for key in tensors)},
            affect=not without_affect,
            scores=CARD.scores if branches == 9 else {},
        )
        model = self.build_model(card)
        state = {**{k: v for k, v in model.state_dict().items() if "fc_dimensional" in k}, **tensors}
        self._load_state(model, state, folder)
        self.card = card
        self._use(model, folder=folder)
        self._use_remembered(folder, card, model)
        self._obey()

    def download(self, path: str | Path | None = None, mode: str = "data", url: str | None = None) -> Path:
        """Fetches or makes files and returns where they are; see `downloads.download` for the modes and addresses."""
        from emotion_perception.learners.esr.downloads import download

        target = download(Path(path or self.temp_path), mode, url)
        if mode == "data":
            self.dataset_path = target
        return target

    # ---- inside -------------------------------------------------------------------------------------------------------

    def _esr(self) -> ESR:
        return self.model  # type: ignore[return-value]  # this learner only ever builds ESR

    def _recipe(self) -> Recipe:
        from emotion_perception.learners.esr.training import Recipe

        return Recipe(
            epochs=self.max_training_epoch,
            later_epochs=self.later_epochs,
            per_class=self.images_per_class,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            branch_share=self.branch_share,
            size=self.card.input.height,
            small_size=self.small_size,
            small_epochs=self.small_epochs,
            diversity_weight=self.diversity_weight,
            validate_every=self.validation_interval,
            affect_epochs=self.max_tuning_epoch,
            seed=self.seed,
            precision=self.precision,
        )

    def _datasets(self, dataset: Any, val_dataset: Any) -> tuple[Any, Any, Any, Any]:
        """Returns training data for emotion and for affect, and validation data for both; AffectNet's parts when none are given."""
        if dataset is not None:
            return dataset, dataset, val_dataset, val_dataset
        if val_dataset is not None:
            raise UsageError("val_dataset was given without dataset; give both, or none to use AffectNet's parts")
        from emotion_perception.engine.datasets import AffectNetCategorical, AffectNetDimensional

        root = self.base_path_to_dataset
        emotion = [AffectNetCategorical(part, None, base_path_to_affectnet=root) for part in (0, 2)]
        if not self.dimensional_finetune:
            return emotion[0], None, emotion[1], None
        affect = [AffectNetDimensional(part, None, base_path_to_affectnet=root) for part in (0, 2)]
        return emotion[0], affect[0], emotion[1], affect[1]
