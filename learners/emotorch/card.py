"""The cards of the two published networks. Weights in a folder bring a card of their own."""

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard, WeightFile

_ADDRESS = "https://raw.githubusercontent.com/gregor-autischer/EmoTorch_Paper/0795b681c73a/"
ENHANCED_NAME, BASELINE_NAME = "emotorch_enhanced.pth", "emotorch_baseline.pth"

# The four classes of FER2013Valid by the raters' majority. Both networks were trained on pictures of it, under FER2013's own labels.
_FERPLUS = "FER+ validation (FER2013Valid, 1,940 pictures with a majority for one of the four classes), measured here"

CARD = ModelCard(
    learner="emotorch",
    title="EmoTorch, enhanced network, published weights",
    perceives="face",
    input=InputSpec(height=48, width=48),
    crop=CropSpec(detector="yunet", scale=1.0),
    labels="emotorch4",
    licence="code and weights MIT; trained on FER2013, CK+ and RAF-DB, whose terms allow research only",
    paper="Autischer, Waxnegger, Kowald: Self-Certification of High-Risk AI Systems: Facial Emotion Recognition, arXiv 2601.08295, 2026",
    architecture={"network": "enhanced", "dropout_rate": 0.4},
    files=(
        WeightFile(
            ENHANCED_NAME,
            f"{_ADDRESS}new_model/new_model/model.pth",
            "sha256:0aafdd621c5b37de484a3fedecfacb938b36e818913ff966625a786b1d9b389a",
        ),
        WeightFile(
            BASELINE_NAME,
            f"{_ADDRESS}baseline_model/model/model.pth",
            "sha256:9292e35d1c6522cdbe2d0eef2aef78fb6b23326b0bb9c021347a25bc0910226d",
        ),
    ),
    data="FER2013, CK+ and RAF-DB, 18,904 faces of four classes with ten altered copies of each",
    scores={
        "its own test part (4,726 faces with ten altered copies of each)": {
            "accuracy": 0.6819,
            "macro_f1": 0.6761,
            "per_class_recall": {"Anger": 0.73, "Fear": 0.536, "Calm": 0.6404, "Surprise": 0.8331},
            "accuracy_of_the_faces_alone": 0.7186,
            "source": "the authors', not measured here; the part also decided when training ended, and holds other frames of CK+'s persons",
        },
        _FERPLUS: {
            "accuracy": 0.4851,
            "macro_f1": 0.4734,
            "calibration_error": 0.3224,
            "per_class_recall": {"Anger": 0.8304, "Fear": 0.8, "Calm": 0.2576, "Surprise": 0.8491},
        },
    },
    notes=(
        "The published weights are those of the last epoch (20), not of the best (10), which was never restored.",
        "Calm is FER2013's neutral, CK+'s happy, and RAF-DB's neutral and happy: judge it per source.",
        "Of FER+'s neutral faces three quarters are taken for another class, most for anger or fear.",
        "The crop of the published training faces is that of their data sets; FER2013's are 1.01 times YuNet's box.",
    ),
)

BASELINE_CARD = CARD.with_(
    title="EmoTorch, baseline network, published weights",
    paper=f"{CARD.paper}; the baseline after ThoughtWorks' EmoPy",
    architecture={"network": "baseline"},
    data="FER2013, 31,364 faces and altered copies of four classes",
    scores={
        "its own validation parts": {
            "accuracy_fer2013": 0.5129,
            "accuracy_ckplus": 0.608,
            "source": "the authors', not measured here; 70 % of FER2013's validation part share a source with the training part",
        },
        _FERPLUS: {
            "accuracy": 0.532,
            "macro_f1": 0.4796,
            "calibration_error": 0.069,
            "per_class_recall": {"Anger": 0.7543, "Fear": 0.5333, "Calm": 0.4093, "Surprise": 0.7275},
        },
    },
    notes=(
        "The published weights are those of the last epoch (16), not of the best (13), which was never restored.",
        "Calm is FER2013's neutral and CK+'s happy: judge it per source.",
        "Scores were trained by their cosine with the class: their share of the sum is a ranking, not a calibrated probability.",
    ),
)
CARDS = {"enhanced": CARD, "baseline": BASELINE_CARD}
