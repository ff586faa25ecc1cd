"""The contract suite finds what it looks for: a learner that breaks one promise fails that promise's check."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_perception.engine import testing
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions
from emotion_perception.engine.testing import CHECKS, Case, DrawnFaces, Watched, parametrize

NAMES = [check.__name__ for check in CHECKS]


def toy() -> type[Learner]:
    """Returns the learner of the example package."""
    file = Path(__file__).parent.parent / "plugin" / "toy_emotions.py"
    spec = importlib.util.spec_from_file_location("toy_emotions_under_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    learner: type[Learner] = module.ToyLearner
    return learner


Toy: Any = toy()


class Prints(Toy):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        print("ready")  # noqa: T201


class WritesAFile(Toy):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        Path(self.temp_path).mkdir(parents=True)


class AllocatesEarly(Toy):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.network = self.build_model(self.card)


class ChangesItsArguments(Toy):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.epochs += 1


class NeedsMore(Toy):
    def infer(self, batch, color="rgb", *, threshold):
        return super().infer(batch, color)


class RenamesAnArgument(Toy):
    def fit(self, data=None, val_dataset=None, logging_path="", silent=True, verbose=True):
        return super().fit(data, val_dataset, logging_path)


class SaysNothingOfWeights(Toy):
    def infer(self, batch, color="rgb"):
        if self._backend is None:
            raise UsageError("no model")
        return super().infer(batch, color)


class DoesNotNormalise(Toy):
    def emotions(self, outputs):
        judged = super().emotions(outputs)
        return Emotions(judged.labels, judged.probabilities * np.float32(0.9), judged.affect)


class OutOfRange(Toy):
    def emotions(self, outputs):
        judged = super().emotions(outputs)
        return Emotions(judged.labels, judged.probabilities, judged.affect * np.float32(1000.0))


class LooksAtItsNeighbours(Toy):
    def emotions(self, outputs):
        return super().emotions({**outputs, "logits": outputs["logits"] - outputs["logits"].mean(axis=0)})


class CannotBeEmpty(Toy):
    def infer(self, batch, color="rgb"):
        if len(batch) == 0:
            raise UsageError("nothing given")
        return super().infer(batch, color)


class IgnoresColor(Toy):
    def infer(self, batch, color="rgb"):
        return super().infer(batch)


class IsBlindToColor(Toy):
    def infer(self, batch, color="rgb"):
        from emotion_perception.engine.vision.crops import network_input

        x = network_input(batch, self.card.input, color).mean(axis=1, keepdims=True).repeat(3, axis=1)
        return self.emotions(self.outputs(x))


class ChangesItsInput(Toy):
    def infer(self, batch, color="rgb"):
        result = super().infer(batch, color)
        for picture in batch:
            if isinstance(picture, np.ndarray):
                picture.flags.writeable = True
                picture += 1
        return result


class StaysInTraining(Toy):
    def infer(self, batch, color="rgb"):
        result = super().infer(batch, color)
        self.model.train()
        return result


class Remembers(Toy):
    seen = 0

    def emotions(self, outputs):
        self.seen += 1
        return super().emotions({**outputs, "logits": outputs["logits"] + np.eye(8, dtype=np.float32)[0] * self.seen})


class SkipsEpochs(Toy):
    def fit(self, *given, **named):
        return {"history": super().fit(*given, **named)["history"][1:]}


class FreezesItsBias(Toy):
    def fit(self, *given, **named):
        if self._model is None:
            return super().fit(*given, **named)
        bias = self.model.bias.detach().clone()
        self.model.bias.requires_grad_(False)
        result = super().fit(*given, **named)
        self.model.bias.requires_grad_(True).data.copy_(bias)
        return result


class LearnsNothing(Toy):
    def fit(self, *given, **named):
        self.lr = 0.0
        return super().fit(*given, **named)


class IsUnseeded(Toy):
    def fit(self, *given, **named):
        self.seed = random.getrandbits(30)
        return super().fit(*given, **named)


class StartsAfresh(Toy):
    def fit(self, dataset=None, val_dataset=None, logging_path="", silent=True, verbose=True):
        return super().fit(dataset)


class Flatters(Toy):
    def eval(self, dataset=None):
        return {**super().eval(dataset), "accuracy": 1.0}


class Rounds(Toy):
    def save(self, path, *, half=False):
        return super().save(path, half=True)


class TakesAnybodysWeights(Toy):
    def load(self, path=None):
        from emotion_perception.engine.weights import CARD_NAME

        card = Path(path) / CARD_NAME
        if card.is_file():
            card.write_text(card.read_text().replace("somebody_else", "toy"))
        super().load(path)


class Unpickles(Toy):
    def load(self, path=None):
        import torch

        for file in Path(path).glob("*.pt"):
            torch.load(file, weights_only=False)
        super().load(path)


class OptimisesForShow(Toy):
    def optimize(self, target_device=None, do_constant_folding=True):
        backend = self._backend
        file = super().optimize(target_device, do_constant_folding)
        self._backend = backend
        return file


class DownloadsAnything(Toy):
    def download(self, path=None, mode="pretrained", url=None):
        Path(path).mkdir(parents=True)
        return Path(path)


BROKEN = [
    (Prints, "check_construction_does_nothing"),
    (WritesAFile, "check_construction_does_nothing"),
    (AllocatesEarly, "check_construction_does_nothing"),
    (ChangesItsArguments, "check_constructor_keeps_its_arguments"),
    (NeedsMore, "check_signatures_are_those_of_the_base"),
    (RenamesAnArgument, "check_signatures_are_those_of_the_base"),
    (SaysNothingOfWeights, "check_infer_needs_weights"),
    (DoesNotNormalise, "check_infer_result_is_coherent"),
    (OutOfRange, "check_infer_result_is_coherent"),
    (LooksAtItsNeighbours, "check_infer_batch_equals_singles"),
    (CannotBeEmpty, "check_infer_empty_batch_is_empty"),
    (IgnoresColor, "check_infer_tells_bgr_from_rgb"),
    (IsBlindToColor, "check_infer_tells_bgr_from_rgb"),
    (ChangesItsInput, "check_infer_leaves_its_input_alone"),
    (StaysInTraining, "check_infer_is_repeatable"),
    (Remembers, "check_infer_is_repeatable"),
    (Remembers, "check_reset_clears_state"),
    (SkipsEpochs, "check_fit_returns_a_row_per_epoch"),
    (FreezesItsBias, "check_fit_changes_every_trainable_parameter"),
    (LearnsNothing, "check_fit_lowers_the_loss"),
    (IsUnseeded, "check_fit_is_reproduced_by_its_seed"),
    (StartsAfresh, "check_fit_interrupted_is_resumed"),
    (Flatters, "check_eval_agrees_with_a_count_by_hand"),
    (Rounds, "check_save_and_load_are_exact"),
    (TakesAnybodysWeights, "check_load_refuses_another_learners_weights"),
    (Unpickles, "check_load_runs_no_code"),
    (OptimisesForShow, "check_optimize_is_used"),
    (DownloadsAnything, "check_download_refuses_an_unknown_mode"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("learner", "name"), BROKEN, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_broken_promise_is_found(learner: type[Learner], name: str, tmp_path: Path) -> None:
    case = Case(learner, {"device": "cpu", "epochs": 3})
    if name not in ("check_construction_does_nothing", "check_signatures_are_those_of_the_base"):
        assert case.training.reads > 0
    with pytest.raises((AssertionError, UsageError)):
        CHECKS[NAMES.index(name)](case, tmp_path)


def test_the_same_learner_unbroken_passes_those_checks(tmp_path: Path) -> None:
    case = Case(Toy, {"device": "cpu"})
    for name in sorted({name for _, name in BROKEN}):
        (tmp_path / name).mkdir()
        CHECKS[NAMES.index(name)](case, tmp_path / name)


def test_checks_are_named_once_and_say_what_they_assert() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all((check.__doc__ or "").startswith("Asserts that ") for check in CHECKS)
    assert set(testing.TRAINING_CHECKS) < set(CHECKS)
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_parametrize_names_the_tests_and_marks_expected_failures() -> None:
    first, second = CHECKS[:2]
    fails = Case("esr", name="esr_small", checks=[first, second], expected_failures={second.__name__: "why"})
    mark = parametrize(Case("toy", checks=[first]), fails)
    names, parameters = mark.args
    assert names == ("case", "check")
    assert [p.id for p in parameters] == [f"toy-{first.__name__}", f"esr_small-{first.__name__}", f"esr_small-{second.__name__}"]
    assert [[(m.name, m.kwargs) for m in p.marks] for p in parameters] == [[], [], [("xfail", {"reason": "why", "strict": True})]]


def test_an_expected_failure_of_no_check_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown check 'check_infer_neds_weights'; did you mean 'check_infer_needs_weights'\?"):
        parametrize(Case("toy", expected_failures={"check_infer_neds_weights": "why"}))


def test_drawn_faces_differ_by_class_and_are_the_same_every_time() -> None:
    labels = Toy.card.label_set
    faces, again = DrawnFaces(labels, 16, 32, 1.2), DrawnFaces(labels, 16, 32, 1.2)
    assert faces.counts() == dict.fromkeys(labels.words, 2)
    assert faces.crop_scale(3) == 1.2
    pictures = [faces.picture(i) for i in range(16)]
    assert {p.shape for p in pictures} == {(32, 32, 3)}
    assert len({p.tobytes() for p in pictures}) == 16
    assert all(np.array_equal(p, again.picture(i)) for i, p in enumerate(pictures))
    # Same class, other person: closer than another class.
    assert np.abs(pictures[0].astype(int) - pictures[8]).mean() < np.abs(pictures[0].astype(int) - pictures[7]).mean()


def test_watched_counts_and_acts_once() -> None:
    at: list[int] = []
    watched = Watched(DrawnFaces(Toy.card.label_set), 3, lambda: at.append(watched.reads))
    for i in range(8):
        watched.dataset.picture(i)
    assert (watched.reads, at) == (8, [3])
    assert watched.dataset.subset([1])[0][1].data == 1
    assert watched.reads == 9


def test_a_case_with_clips_leaves_out_what_is_about_pictures() -> None:
    names = [p.id for p in parametrize(Case("talk", clips=list)).args[1]]
    assert names == [f"talk-{check.__name__}" for check in CHECKS if check not in testing.PICTURE_CHECKS]
    assert "check_infer_tells_bgr_from_rgb" in {check.__name__ for check in testing.PICTURE_CHECKS}
