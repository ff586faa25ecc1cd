"""The card of the published classifier and regressor. Weights in a folder bring a card of their own."""

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard, WeightFile

_ADDRESS = "https://raw.githubusercontent.com/djordjebatic/AffectNet/5f75c6b663a3322a2a81177d6a40359acb20efd4/MobileNetV2/"
# Pixels in [-1, 1], as Keras scales them for this network.
MEAN = STD = (0.5, 0.5, 0.5)

CARD = ModelCard(
    learner="mobilenetv2_affectnet",
    title="MobileNetV2, published classifier and regressor (AffectNet)",
    perceives="face",
    input=InputSpec(height=224, width=224, mean=MEAN, std=STD),
    crop=CropSpec(detector="yunet", scale=1.3),
    labels="affectnet8",
    affect=True,
    licence="code and weights MIT; trained on AffectNet, whose terms allow research only",
    paper="Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018; trained by D. Batic, 2020",
    architecture={"heads": "both", "shared": False, "conventions": "keras", "stem_stride": 2},
    files=(
        WeightFile("classificator_weights.h5", _ADDRESS + "classificator_weights.h5", "git-blob:377d8af1a43ced0a172ceb2913cccddd2e7bafc7"),
        WeightFile("regressor_weights.h5", _ADDRESS + "regressor_weights.h5", "git-blob:f86c2633efeec0a055cfcd391eca7bf6c145cb74"),
    ),
    data="AffectNet, the manually annotated part",
    scores={
        "AffectNet validation": {
            "accuracy": 0.5992,
            "macro_f1": 0.60,
            "cohen_kappa": 0.542,
            "krippendorff_alpha": 0.5419,
            "auc": 0.9127,
            "auc_pr": 0.6529,
            "rmse_valence": 0.3949,
            "rmse_arousal": 0.3755,
            "ccc_valence": 0.5822,
            "ccc_arousal": 0.463,
            "source": "the author's, not measured here; one constant for all pictures has an RMSE of 0.470 and 0.415",
        }
    },
    notes=("The published network was trained on whole AffectNet pictures, squeezed to a square; the scale of the crop here is a guess.",),
)
