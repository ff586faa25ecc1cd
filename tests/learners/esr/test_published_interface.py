"""The three examples of the documentation of OpenDR's FacialEmotionLearner, with only the import line changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

ARGUMENTS = """
learner = FacialEmotionLearner(device="cpu", temp_path='./tmp',
                               batch_size=2, max_training_epoch=1, ensemble_size=1,
                               name_experiment='esr_9', base_path_experiment='./experiments/',
                               lr=1e-1, categorical_train=True, dimensional_finetune=True,
                               base_path_to_dataset='./data', max_tuning_epoch=1)
"""

TRAIN = (
    """
from emotion_perception import FacialEmotionLearner
"""
    + ARGUMENTS
    + """
learner.fit()
learner.save(state_dicts=learner.model.to_state_dict(),
             base_path_to_save_model=learner.base_path_experiment,
             current_branch_save=8)
"""
)

INFER = (
    """
from emotion_perception import FacialEmotionLearner, datasets
from torch.utils.data import DataLoader
"""
    + ARGUMENTS
    + """
# Download the validation data
dataset_path = learner.download(mode='data')
val_data = datasets.AffectNetCategorical(idx_set=2,
                                         max_loaded_images_per_label=2,
                                         transforms=None,
                                         is_norm_by_mean_std=False,
                                         base_path_to_affectnet=learner.dataset_path)

val_loader = DataLoader(val_data, batch_size=32, shuffle=False, num_workers=8)
batch = next(iter(val_loader))[0]
learner.load(learner.ensemble_size, path_to_saved_network=learner.base_path_experiment, fix_backbone=True)
ensemble_emotion_results, ensemble_dimension_results = learner.infer(batch[0])
"""
)

OPTIMISE = (
    """
from emotion_perception import FacialEmotionLearner
"""
    + ARGUMENTS
    + """
learner.load(learner.ensemble_size, path_to_saved_network=learner.base_path_experiment, fix_backbone=True)
learner.optimize(do_constant_folding=True)
learner.save(path='./parent_dir/optimized_model', model_name='optimized_pstbln')
"""
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with AffectNet's layout in ./data."""
    from emotion_perception import FacialEmotionLearner

    monkeypatch.chdir(tmp_path)
    shutil.move(FacialEmotionLearner().download(tmp_path / "made", mode="data"), tmp_path / "data")
    return tmp_path


@pytest.mark.filterwarnings("ignore:This DataLoader will create 8 worker:UserWarning")
def test_the_three_examples_run(data: Path) -> None:
    trained: dict[str, object] = {}
    exec(TRAIN, trained)
    saved = sorted(path.name for path in (data / "experiments").iterdir())
    assert saved == ["Net-Base-Shared_Representations.pt", "Net-Branch_1.pt", "esr_9.json"]

    inferred: dict[str, object] = {}
    exec(INFER, inferred)
    (category,) = inferred["ensemble_emotion_results"]
    assert category.description in ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
    assert 0.125 <= category.confidence <= 1.0
    assert inferred["ensemble_dimension_results"].shape == (1, 2)
    same = trained["learner"].infer(inferred["batch"][0])
    np.testing.assert_allclose(same.probabilities[0], category.probabilities, atol=1e-5)

    optimised: dict[str, object] = {}
    exec(OPTIMISE, optimised)
    assert (data / "parent_dir" / "optimized_model" / "model.onnx").is_file()
    from emotion_perception import FacialEmotionLearner

    learner = FacialEmotionLearner(device="cpu")
    learner.load(data / "parent_dir" / "optimized_model")
    np.testing.assert_allclose(learner.infer(inferred["batch"][0]).probabilities[0], category.probabilities, atol=1e-4)
