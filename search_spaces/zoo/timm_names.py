"""timm's names of networks of inverted residuals (timm `_efficientnet_builder.py`, `_efficientnet_blocks.py`)."""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.naming import Keys, Part, Rule

TIMM_EPSILON = 1e-5
"""Of batch normalisation in its models but those ported from TensorFlow (timm `_efficientnet_builder.py`)."""


_CONV_HEAD = Keys("conv_head", "bn2")


def timm_rule(stages: Iterable[int], last_conv: Keys = _CONV_HEAD) -> Rule:
    """The rule of a network.

    Args:
        stages: numbers of layers that timm counts as one stage, in order.
        last_conv: what it calls the convolution before the pooling.
    """
    places = [f"blocks.{stage}.{i}" for stage, layers in enumerate(stages) for i in range(layers)]
    outside = {
        "stem": Keys("conv_stem", "bn1"),
        "head.conv": last_conv,
        "head.hidden": Keys("conv_head"),
        "classifier": Keys("classifier"),
    }

    def rule(part: Part) -> Keys:
        if not part.siblings:
            return outside[part.role]
        place = places[part.layer - 1]
        gates = {"se.reduce": "se.conv_reduce", "se.gate": "se.conv_expand"}
        if part.role in gates:
            return Keys(f"{place}.{gates[part.role]}")
        convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if "expand" not in part.siblings:
            convs["project"] = "conv_pw"
        number = [sibling for sibling in part.siblings if sibling != "se"].index(part.role) + 1
        return Keys(f"{place}.{convs[part.role]}", f"{place}.bn{number}")

    return rule
