"""ResNet-50 (arXiv 1512.03385) with the stride on the first or the middle convolution, and SE-ResNet-50 (arXiv 1709.01507)."""

from __future__ import annotations

from search_spaces.arch_string import parse_arch
from search_spaces.edits import with_squeeze
from search_spaces.naming import Keys, Naming, Part
from search_spaces.zoo.network import Network, Published, PublishedTraining


def _resnet50(bottleneck: str) -> str:
    return (
        "norm_e0.00001 stem_k7_s22_o64 maxpool_k3_s22 "
        f"r3_k3_s11_{bottleneck}64_i64_o256 r4_k3_s22_{bottleneck}128_i256_o512 "
        f"r6_k3_s22_{bottleneck}256_i512_o1024 r3_k3_s22_{bottleneck}512_i1024_o2048 head_noconv_d0"
    )


_V1 = parse_arch(_resnet50("bv"))
_V15 = parse_arch(_resnet50("b"))

_STAGES = (3, 4, 6, 3)


def _names(part: Part) -> Keys:
    """Names of torchvision `resnet.py` and timm `resnet.py`, which agree."""
    if not part.siblings:
        return {"stem": Keys("conv1", "bn1"), "classifier": Keys("fc")}[part.role]
    places = [f"layer{stage}.{i}" for stage, layers in enumerate(_STAGES, start=1) for i in range(layers)]
    place = places[part.layer - 1]
    if part.role == "shortcut":
        return Keys(f"{place}.downsample.0", f"{place}.downsample.1")
    return Keys(f"{place}.conv{part.position + 1}", f"{place}.bn{part.position + 1}")


_NAMES = dict.fromkeys(("torchvision", "timm"), Naming(_names, 1e-5))

_TRAINING = PublishedTraining(
    source="arXiv 1512.03385, section 3.4",
    learning_rate=0.1,
    batch_size=256,
    weight_decay=1e-4,
    decay_factor=0.1,
    decay_epochs=30.0,
)
_SE_TRAINING = PublishedTraining(
    source="arXiv 1709.01507, section 5.1",
    learning_rate=0.6,
    batch_size=1024,
    weight_decay=1e-4,
    decay_factor=0.1,
    decay_epochs=30.0,
)

NETWORKS = {
    "resnet50": Network(
        arch=_V1,
        summary="bottlenecks with the stride on the first convolution",
        source="arXiv 1512.03385, table 1",
        params=25_557_032,
        macs=3_857_973_248,
        training=_TRAINING,
        names=_NAMES,  # those libraries' own weights are v1.5's, and compute something else here
        # printed as 3.86 G
        published={"": Published(source="arXiv 1709.01507, table 2", top1=75.2, macs_m=3860, tolerance=0.001)},
    ),
    "resnet50_v15": Network(
        arch=_V15,
        summary="bottlenecks with the stride on the middle convolution",
        source="torchvision `resnet50`",
        params=25_557_032,
        macs=4_089_184_256,
        training=_TRAINING,
        names=_NAMES,
        published={"": Published(source="torchvision `resnet.py`", top1=76.130, params_m=25.557032, macs_m=4089)},
    ),
    "se_resnet50": Network(
        arch=with_squeeze(_V1, 1 / 16),
        summary="ResNet-50 with squeeze-and-excitation",
        source="arXiv 1709.01507, table 1",
        params=28_088_024,
        macs=3_860_488_192,
        training=_SE_TRAINING,
        # the paper counts 3.87 G, pooling and scaling included
        published={"": Published(source="arXiv 1709.01507, table 2", top1=76.71, macs_m=3870, tolerance=0.003)},
    ),
}
