"""GoogLeNet with batch normalisation (arXiv 1502.03167, figure 5, taken literally), called Inception-v2 by slim.

Figure 5 prints 576 outputs for modules 4c and 4d, whose columns sum to 608, and so 1024 for 4e, which gives 1056: the
columns are followed. The first convolution is plain, where the paper's is separable.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.arch_string import parse_arch
from search_spaces.zoo.network import Network, Published, PublishedTraining


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of figure 5: widths of 1x1 (0: none), 3x3, double 3x3, and pool projection (0: passes through)."""

    in_channels: int
    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    projection: int

    def word(self) -> str:
        """As a word of the string form; rows without projection have stride 2."""
        stride = "" if self.projection else "_s22"
        (reduce3, three), (reduce_double, double) = self.three, self.double
        branches = [f"k1_o{self.one}"] if self.one else []
        branches.append(f"k1_o{reduce3},k3{stride}_o{three}")
        branches.append(f"k1_o{reduce_double},k3_o{double},k3{stride}_o{double}")
        branches.append(f"{self.pool}pool_k3_s11,k1_o{self.projection}" if self.projection else "maxpool_k3_s22_ceil")
        return f"branches_i{self.in_channels}({'|'.join(branches)})"


_ROWS = (
    _Row(192, 64, (64, 64), (64, 96), "avg", 32),
    _Row(256, 64, (64, 96), (64, 96), "avg", 64),
    _Row(320, 0, (128, 160), (64, 96), "max", 0),
    _Row(576, 224, (64, 96), (96, 128), "avg", 128),
    _Row(576, 192, (96, 128), (96, 128), "avg", 128),
    _Row(576, 160, (128, 160), (128, 160), "avg", 128),
    _Row(608, 96, (128, 192), (160, 192), "avg", 128),
    _Row(608, 0, (128, 192), (192, 256), "max", 0),
    _Row(1056, 352, (192, 320), (160, 224), "avg", 128),
    _Row(1024, 352, (192, 320), (192, 224), "max", 128),
)
_STEM = (
    "stem_k7_s22_o64 maxpool_k3_s22_ceil r1_k1_s11_conv_i64_o64_noskip r1_k3_s11_conv_i64_o192_noskip "
    "maxpool_k3_s22_ceil"
)

NETWORKS = {
    "inception_bn": Network(
        arch=parse_arch(f"{_STEM} {' '.join(row.word() for row in _ROWS)} head_noconv_d0"),
        summary="GoogLeNet with BN, two 3x3 in place of 5x5",
        source="arXiv 1502.03167, figure 5",
        params=11_285_224,
        macs=2_032_600_064,
        training=PublishedTraining(
            source="arXiv 1502.03167, section 4.2: BN-x5, weight decay a fifth of Inception's",
            learning_rate=0.0075,
            batch_size=32,
            weight_decay=4e-5,
            bn_momentum=0.0003,
            decay_factor=0.96,
            decay_epochs=8 / 6,
        ),
        published={"": Published(source="arXiv 1502.03167, figure 4", top1=74.8, macs_m=2000, tolerance=0.02)},
    )
}
