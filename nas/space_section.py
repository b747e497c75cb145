"""The section ``space`` of a recipe: the name of a space, or one spelled out as stages or as a chain of layers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from nas.section import Positive, Section
from search_spaces.arch import Head, Norm, Stem
from search_spaces.block import ConvOp, SkipOp, SqueezeRule
from search_spaces.chain import ChainLayout, LayerOp, Place, chain_space
from search_spaces.mnasnet import MNASNET
from search_spaces.mobilenet_v3 import MOBILENET_V3
from search_spaces.space import SearchSpace
from search_spaces.stages import StageLayout, StageOptions, stage_space
from search_spaces.values import Activation

SPACES = {space.name: space for space in (MNASNET, MOBILENET_V3)}
"""The spaces that a recipe can name."""

T = TypeVar("T")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Options = Annotated[list[T], BeforeValidator(_listed), Field(min_length=1)]
"""One value, or a list of them: then it is a decision."""


class StemSection(Section):
    """The first convolution."""

    channels: Positive = 32
    kernel: Positive = 3
    stride: Literal[1, 2] = 2
    activation: Activation = "relu"


class HeadSection(Section):
    """What follows the stages: 1x1 convolution, pooling, classifier."""

    channels: Positive | None = 1280
    activation: Activation = "relu"
    dropout: float = Field(0.2, ge=0, lt=1)


SpaceName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[\w.-]+$", description="how reports call it")]


class LayoutSection(Section):
    """What all candidates of a space that is spelled out have in common."""

    stem: StemSection = StemSection()
    head: HeadSection = HeadSection()
    activation: Activation = "relu"
    se_rule: SqueezeRule = Field("input", description="what the ratio is of; see search_spaces.block.SqueezeExcite")
    norm_epsilon: float = Field(1e-3, gt=0, lt=1)

    def common(self) -> dict[str, Any]:
        """As the layouts of `search_spaces` take it."""
        return {
            "stem": Stem(**self.stem.model_dump()),
            "head": Head(**self.head.model_dump()),
            "activation": self.activation,
            "se_rule": self.se_rule,
            "norm": Norm(self.norm_epsilon),
        }


class StageSection(Section):
    """Identical inverted residual layers, of which the first has the stride; a list of options is a decision."""

    filters: Options[Positive] = Field(description="output width")
    kernel: Options[Positive] = Field([3], description="odd")
    expand: Options[Positive] = Field([6], description="expanded over input channels; 1 leaves the expansion out")
    layers: Options[Positive] = Field([1])
    se: Options[Annotated[float, Field(ge=0, le=1)]] = Field([0.0], description="ratio; 0 is none")
    skip: Options[SkipOp] = Field(["identity"])
    stride: Literal[1, 2] = 1


class SpaceSection(LayoutSection):
    """A space of stages; see `search_spaces.stages`."""

    name: SpaceName = "stages"
    stages: list[StageSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> SpaceSection:
        self.space()
        return self

    def space(self) -> SearchSpace:
        """The space."""
        stages = [
            StageOptions(**{key: _frozen(value) for key, value in stage.model_dump().items()}) for stage in self.stages
        ]
        return stage_space(self.name, StageLayout(stages=tuple(stages), **self.common()))


class OpSection(Section):
    """What may stand in a place of a chain; see `search_spaces.chain.LayerOp`."""

    op: ConvOp = "mbconv"
    kernel: Positive = Field(3, description="odd")
    expand: Positive = Field(1, description="expanded over input channels; 1 leaves the expansion out")
    se: float = Field(0.0, ge=0, le=1, description="ratio; 0 is none")
    skip: SkipOp = "identity"
    activation: Activation | None = Field(None, description="default: the space's; none for a linear conv")


class PlaceSection(Section):
    """One layer of a chain."""

    filters: Positive = Field(description="output width")
    ops: Options[str] = Field(description="names of operations that may stand here; a list is a decision")
    stride: Literal[1, 2] = 1


class ChainSection(LayoutSection):
    """A space in which every layer is chosen from a list of operations; see `search_spaces.chain`."""

    name: SpaceName = "chain"
    ops: dict[str, OpSection | None] = Field(min_length=1, description="name -> operation; null is no layer")
    places: list[PlaceSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> ChainSection:
        self.space()
        return self

    def space(self) -> SearchSpace:
        """The space."""
        return chain_space(
            self.name,
            ChainLayout(
                ops={name: LayerOp(**op.model_dump()) if op else None for name, op in self.ops.items()},
                places=tuple(
                    Place(filters=place.filters, ops=tuple(place.ops), stride=place.stride) for place in self.places
                ),
                **self.common(),
            ),
        )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _named_or_spelled_out(value: Any) -> Any:
    if not isinstance(value, dict | SpaceSection | ChainSection) and value not in list(SPACES):
        raise ValueError(f"allowed: {', '.join(SPACES)}, or a section with stages, or one with ops and places")
    if isinstance(value, dict):
        section = ChainSection if "places" in value else SpaceSection
        return section.model_validate(value)
    return value


Space = Annotated[str | SpaceSection | ChainSection, BeforeValidator(_named_or_spelled_out)]
"""Type of the key ``space``."""


def search_space(section: str | SpaceSection | ChainSection) -> SearchSpace:
    """The space that a recipe's key ``space`` names or spells out."""
    return SPACES[section] if isinstance(section, str) else section.space()
