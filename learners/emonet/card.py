"""The card of the published weights. Weights in a folder bring a card of their own."""

from emotion_perception.engine.cards import InputSpec, ModelCard, WeightFile

WEIGHTS_NAME = "emonet_pytorch_weights.pt"
# Of the pixels of ImageNet, red, green, blue: what AlexNet's kin subtract where there is no mean image.
CHANNEL_MEAN = (123.68, 116.779, 103.939)

CARD = ModelCard(
    learner="emonet",
    title="EmoNet for scenes (Kragel et al. 2019), published weights",
    perceives="scene",
    # The network takes 0 to 255 and subtracts what it subtracts itself.
    input=InputSpec(height=227, width=227, std=(1.0 / 255.0,) * 3, interpolation="bicubic"),
    labels="kragel20",
    licence="code MIT; the file with the weights states no licence, the paper is CC BY-NC 4.0: take the weights as not for commercial use",
    paper="Kragel, Reddan, LaBar, Wager: Emotion schemas are embedded in the human visual system, Science Advances 2019",
    architecture={"affect": "none", "mean": "none", "width": 1.0},
    # No digest was published: the download is checked by its tensors.
    files=(WeightFile(WEIGHTS_NAME, "https://osf.io/amdju/download", None),),
    data="2,026 short videos of Cowen and Keltner 2017, those of twenty of its classes, on top of ImageNet",
    notes=(
        "It says what a scene makes people feel, not what a face in it shows.",
        "The published PyTorch code subtracts no mean image, the MATLAB network it was made of does; see mean in the README.",
        "Amusement is 27 % of the training videos.",
    ),
)
