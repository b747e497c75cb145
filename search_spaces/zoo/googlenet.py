"""GoogLeNet (arXiv 1409.4842, table 1; BVLC caffe `bvlc_googlenet`) and torchvision's variant of it.

Without BN: every convolution is biased. LRN as in the caffe model. Table 1 prints 2.7K parameters for the first
convolution, those of a separable 7x7; the plain one here, of the caffe model, has 9.4K and 118 M multiply-adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.arch_string import parse_arch
from search_spaces.naming import Keys, Naming, Part
from search_spaces.zoo.network import Network, Published, PublishedTraining


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of table 1: widths of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection."""

    in_channels: int
    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int

    def word(self, five: int) -> str:
        """As a word of the string form; `five` is the kernel of the third branch."""
        return (
            f"branches_i{self.in_channels}(k1_o{self.one}|k1_o{self.three_reduce},k3_o{self.three}|"
            f"k1_o{self.five_reduce},k{five}_o{self.five}|maxpool_k3_s11,k1_o{self.pool})"
        )


_ROWS = {
    "3a": _Row(192, 64, 96, 128, 16, 32, 32),
    "3b": _Row(256, 128, 128, 192, 32, 96, 64),
    "4a": _Row(480, 192, 96, 208, 16, 48, 64),
    "4b": _Row(512, 160, 112, 224, 24, 64, 64),
    "4c": _Row(512, 128, 128, 256, 24, 64, 64),
    "4d": _Row(512, 112, 144, 288, 32, 64, 64),
    "4e": _Row(528, 256, 160, 320, 32, 128, 128),
    "5a": _Row(832, 256, 160, 320, 32, 128, 128),
    "5b": _Row(832, 384, 192, 384, 48, 128, 128),
}


def _modules(stage: str, five: int) -> str:
    return " ".join(row.word(five) for name, row in _ROWS.items() if name.startswith(stage))


def _googlenet(norm: str, lrn: str, five: int, pool4: str, dropout: str) -> str:
    pool, conv = "maxpool_k3_s22_ceil", "conv_i64"
    stem = f"{norm} stem_k7_s22_o64 {pool} {lrn} r1_k1_s11_{conv}_o64_noskip r1_k3_s11_{conv}_o192_noskip {lrn} {pool}"
    body = f"{_modules('3', five)} {pool} {_modules('4', five)} {pool4} {_modules('5', five)}"
    after_4a, after_4d = (10, 13) if lrn else (8, 11)
    aux = " ".join(f"aux_b{place}_w0.3_o128_f1024_d0.7" for place in (after_4a, after_4d))
    return f"{stem} {body} head_noconv_d{dropout} {aux}"


_PLACES = ("conv1", "conv2", "conv3", *(f"inception{row}" for row in _ROWS))


def _torchvision(part: Part) -> Keys:
    """Names of torchvision `googlenet.py`.

    Its pretrained weights want images with mean 0.5 and standard deviation 0.5 taken off (`transform_input`); its auxiliary
    heads pool to 4x4 with windows of 4, not of 5 at stride 3.
    """
    if part.role == "classifier":
        return Keys("fc")
    head, _, role = part.role.partition(".")
    if role in ("hidden", "classifier"):
        return Keys(f"{head}.{'fc1' if role == 'hidden' else 'fc2'}")
    if role == "conv":
        place = part.role
    elif part.op.name == "stem" or head == "conv":
        place = _PLACES[part.layer]
    elif head == "branch1":
        place = f"{_PLACES[part.layer]}.branch1"
    else:
        place = f"{_PLACES[part.layer]}.{head}.{int(role) - 1}"
    return Keys(f"{place}.conv", f"{place}.bn")


_TRAINING = PublishedTraining(
    source="arXiv 1409.4842, section 6; the rate and batch that arXiv 1502.03167, section 4.2, gives for it",
    learning_rate=0.0015,
    batch_size=32,
    weight_decay=2e-4,  # caffe `bvlc_googlenet`
    bn_momentum=0.01,
    decay_factor=0.96,
    decay_epochs=8.0,
)

NETWORKS = {
    "googlenet": Network(
        arch=parse_arch(_googlenet("nonorm", "lrn", 5, "maxpool_k3_s22_ceil", "0.4")),
        summary="Inception modules, two auxiliary classifiers, no BN",
        source="arXiv 1409.4842, table 1; caffe `bvlc_googlenet`",
        params=6_998_552,
        macs=1_582_671_872,
        training=_TRAINING,
        published={
            "": Published(source="arXiv 1704.04861, table 8", top1=69.8, params_m=6.8, macs_m=1550, tolerance=0.025)
        },
    ),
    "googlenet_torchvision": Network(
        # 3x3 in place of 5x5 (torchvision issue 906) and a 2x2 last pooling
        arch=parse_arch(_googlenet("norm_e0.001", "", 3, "maxpool_k2_s22_ceil", "0.2")),
        summary="torchvision's GoogLeNet: BN, 3x3 in place of 5x5",
        source="torchvision `googlenet.py`",
        params=6_624_904,
        macs=1_498_376_192,
        training=_TRAINING,
        names={"torchvision": Naming(_torchvision, 1e-3)},
        published={"": Published(source="torchvision `googlenet.py`", top1=69.778, params_m=6.624904, macs_m=1498)},
    ),
}
