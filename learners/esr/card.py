"""The card of the published ESR-9. Weights in a folder bring a card of their own."""

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.learners.esr.checkpoints import PUBLISHED_FILES

CARD = ModelCard(
    learner="esr",
    title="ESR-9, published weights (AffectNet)",
    perceives="face",
    input=InputSpec(height=96, width=96, color="rgb"),
    crop=CropSpec(detector="yunet", scale=1.2),
    labels="affectnet8",
    affect=True,
    licence="code MIT; weights not for commercial use (terms of AffectNet)",
    paper="Siqueira, Magg, Wermter: Efficient Facial Feature Learning with Wide Ensemble-based Convolutional Neural Networks, AAAI 2020",
    architecture={"ensemble_size": 9, "diversify": False},
    files=PUBLISHED_FILES,
    data="AffectNet, eight classes and dimensional labels",
    scores={"AffectNet validation": {"accuracy": 0.593, "rmse_valence": 0.36, "rmse_arousal": 0.33, "source": "paper, not measured here"}},
    notes=(
        "The published weights were trained on RGB in [0, 1]: the first batch norm's statistics fit red first, not blue first.",
        "The crop of their training faces is not known; its scale here is a guess.",
    ),
)
