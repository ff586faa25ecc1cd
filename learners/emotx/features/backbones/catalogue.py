"""The backbones by the words of the published configuration: what they give, and which file they need from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_perception.engine.downloads import cache_dir
from emotion_perception.engine.errors import UsageError, WeightsError, unknown_name
from emotion_perception.learners.emotx.card import shared
from emotion_perception.learners.emotx.clips import FACE_WIDTHS, SCENE_WIDTHS
from emotion_perception.learners.emotx.features.backbones.preparation import FACENET, FER_RESNET, FER_VGG, IMAGENET, KINETICS, Preparation

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]
FOLDER = "backbones"
TEXT_FOLDER = "roberta-base"
TEXT_ADDRESS = "https://huggingface.co/FacebookAI/roberta-base"


@dataclass(frozen=True)
class Backbone:
    """A network that makes features of pictures.

    Attributes:
        title: What a person would call it.
        width: Length of a feature.
        preparation: How pictures are scaled.
        files: Names its file of weights has where it is published, the usual one first.
        addresses: Where that file is, its first source first.
        build: Builds the network.
        renamed: Gives the file's tensors the network's names.
        inside: Entry of the file that holds the tensors.
        frames: Consecutive frames that one feature sees.
        stride: Frames from one feature to the next.
    """

    title: str
    width: int
    preparation: Preparation
    files: tuple[str, ...]
    addresses: tuple[str, ...]
    build: Callable[[], torch.nn.Module]
    renamed: Callable[[Tensors], Tensors] = dict
    inside: str | None = None
    frames: int = 1
    stride: int = 8

    def open(self, folder: str | Path | None, device: torch.device) -> torch.nn.Module:
        """Builds the network with its published weights, for evaluation.

        Args:
            folder: Where the file is; the cache of ``emotion-perception download emotx --mode backbones`` if None.
            device: Where the network goes.

        Raises:
            WeightsError: The file is missing, damaged, or of another network.
        """
        import torch

        from emotion_perception.engine.weights import load_state, load_torch

        file = find(self.title, self.files, self.addresses[0], folder)
        tensors = {name.removeprefix("module."): value for name, value in load_torch(file, self.inside).items()}
        network = self.build()
        tensors = dict(self.renamed(tensors))
        for name in network.state_dict():
            if name.endswith("num_batches_tracked"):  # files from before torch 0.4.1 do not have it, and only training uses it
                tensors.setdefault(name, torch.tensor(0))
        load_state(network, tensors, f"{str(file)!r} ({self.title})")
        return network.requires_grad_(False).eval().to(device)


def find(title: str, names: tuple[str, ...], address: str, folder: str | Path | None) -> Path:
    """Returns the file or folder of one of several names.

    Raises:
        WeightsError: There is none; says which one, and where it comes from.
    """
    place = cache_dir() / "emotx" / FOLDER if folder is None else Path(folder)
    for name in names:
        if (place / name).exists():
            return place / name
    way_out = f"get it from {address} or by: emotion-perception download emotx --mode backbones"
    raise WeightsError(f"{title} needs {names[0]!r}, which is not in {str(place)!r}; {way_out}")


def choose(kind: str, name: str, known: Mapping[str, Backbone]) -> Backbone:
    """Returns a backbone by its word, or raises `UsageError` with the nearest one."""
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]


def text_files(num_labels: int) -> tuple[tuple[str, ...], str]:
    """Returns the names and the address of the file of RoBERTa fine-tuned on a label set.

    Raises:
        UsageError: There is none for that many labels.
    """
    if num_labels not in _TEXT:
        raise UsageError(f"RoBERTa was fine-tuned for 10, 25 or 26 labels, not for {num_labels}; use srt_feat_pretrained=True")
    return _TEXT[num_labels]


def _mvit() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.mvit import MViT

    return MViT()


def _mvit_names(tensors: Tensors) -> Tensors:
    from emotion_perception.learners.emotx.features.backbones.mvit import without_twins

    return without_twins(tensors)


def _resnet50_places() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.resnet import ResNet

    return ResNet(classes=365)


def _resnet152() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.resnet import ResNet

    return ResNet((3, 8, 36, 3))


def _resnet50_fer() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.resnet import ResNet

    return ResNet(classes=7, stride_first=True, stem_bias=True, eps=1e-4)


def _resnet50_fer_names(tensors: Tensors) -> Tensors:
    from emotion_perception.learners.emotx.features.backbones.resnet import from_dag

    return from_dag(tensors)


def _vgg_m() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.vgg_m import VggM

    return VggM()


def _inception_resnet() -> torch.nn.Module:
    from emotion_perception.learners.emotx.features.backbones.inception_resnet import InceptionResnetV1

    return InceptionResnetV1()


_DAG = "http://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn"
SCENES = {
    "mvit_v1": Backbone(
        title="MViT-B 32x3 (Kinetics-400)",
        width=SCENE_WIDTHS["mvit_v1"],
        preparation=KINETICS,
        files=("MVIT_B_32x3_f294077834.pyth", "MViT_v1_Kinetics400.pt"),
        addresses=(
            "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/MVIT_B_32x3_f294077834.pyth",
            shared("EVi2ME3a1N9HnpC4hWDtPikB_27E7HE2AGiv2tvUvEg_hg"),
        ),
        build=_mvit,
        renamed=_mvit_names,
        inside="model_state",
        frames=32,
        stride=16,
    ),
    "resnet50_places": Backbone(
        title="ResNet-50 (Places365)",
        width=SCENE_WIDTHS["resnet50_places"],
        preparation=IMAGENET,
        files=("resnet50_places365.pth.tar", "ResNet50_PL365.pt"),
        addresses=(
            "http://places2.csail.mit.edu/models_places365/resnet50_places365.pth.tar",
            shared("EXMhpmrJqPlMvTnwKg3cwI8B10jZjeYOQR3P7VW9nbayUQ"),
        ),
        build=_resnet50_places,
        inside="state_dict",
    ),
    "generic": Backbone(
        title="ResNet-152 (ImageNet)",
        width=SCENE_WIDTHS["generic"],
        preparation=IMAGENET,
        files=("resnet152-394f9c45.pth", "resnet152-b121ed2d.pth"),
        addresses=("https://download.pytorch.org/models/resnet152-394f9c45.pth",),
        build=_resnet152,
    ),
}
FACES = {
    "resnet50_fer": Backbone(
        title="ResNet-50 (VGGFace, FER2013, SFEW)",
        width=FACE_WIDTHS["resnet50_fer"],
        preparation=FER_RESNET,
        files=("resnet50_face_sfew_dag.pth", "resnet50_fer.pth", "ResNet50_FER.pt"),
        addresses=(f"{_DAG}/resnet50_face_sfew_dag.pth", shared("EXD44dJWuMxMvPgvHCh8fikB6tWpPzsAvrIULQXmYJ-4VQ")),
        build=_resnet50_fer,
        renamed=_resnet50_fer_names,
    ),
    "emo": Backbone(
        title="VGG-M (VGGFace, FER2013)",
        width=FACE_WIDTHS["emo"],
        preparation=FER_VGG,
        files=("vgg_m_face_bn_fer_dag.pth", "VGG-vm_FER13.pt"),
        addresses=(f"{_DAG}/vgg_m_face_bn_fer_dag.pth", shared("EbGLXEXEW0xNktis5XqgGA8BdhfIELJ0_FfR17RMTgC8tQ")),
        build=_vgg_m,
    ),
    "generic": Backbone(
        title="Inception-ResNet-V1 (VGGFace2)",
        width=FACE_WIDTHS["generic"],
        preparation=FACENET,
        files=("20180402-114759-vggface2.pt", "InceptionResNetV1_VGGface.pt"),
        addresses=(
            "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
            shared("EbGhXirljZlAq-J0VJUm0IsBBC3zvnC8lZqburadJwjnxg"),
        ),
        build=_inception_resnet,
    ),
}
_TEXT = {
    10: (("RoBERTa_finetuned_t10.pt",), shared("EUVZuWL49VVDsSYJAyXWp9ABl04IHgZAxcqiRGy7J6BRJQ")),
    25: (("RoBERTa_finetuned_t25.pt",), shared("EQyudvEGE55MqfgOH8KmHP0Bo7yWo6Ee9eMjVd42z1rtCw")),
    26: (("RoBERTa_finetuned_t26.pt", "RoBERTa_finetuned_Emotic.pt"), shared("EZhITIWmEMNMpxsblIiGapIB0a_4wmJP4pqptVCSJSlyHw")),
}
