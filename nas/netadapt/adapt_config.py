"""What an adaptation is asked to do, complete: ``config.yaml`` of its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nas.errors import UserError
from nas.latency_section import LatencySection
from nas.netadapt.adaptation import MAX_OVERSHOOT, Rules
from nas.netadapt.budget import Budget, Goal, parse_budgets
from nas.netadapt.outcomes import Signal
from nas.netadapt.proposal import GROUPS, Cost
from nas.netadapt.schedule import ReductionSchedule
from nas.netadapt.selection import RULES
from nas.netadapt.tournament import Round, halving, published
from nas.netadapt.treatment import Treatment
from nas.section import Positive, Section
from nas.strict_yaml import read_mapping, validated
from nas.train_config import NetworkSection, TrainConfig
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks

FORMAT = "nas-adapt"
VERSION = 2


class JudgingSection(Section):
    """How the proposals of a step are judged."""

    exact: bool = Field(False, description="each proposal with all its training; accuracy, not probability, counts")
    selection: Literal["slope", "accuracy"] = Field("slope", description="MobileNetV3's rule, or NetAdapt's")
    num_steps: int = Field(
        64, ge=0, description="of fine-tuning: of the accepted network; an eighth of it of a finalist"
    )
    learning_rate: float = Field(0.01, gt=0, description="constant, of the fine-tuning")
    num_calibration: Positive = Field(512, description="training images for the statistics of BN")

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Of a step."""
        return published(self.num_steps) if self.exact else halving(self.num_steps)

    @property
    def signal(self) -> Signal:
        """What is scored: the papers' accuracy, or the probability of the right class, which fewer images tell apart."""
        return "accuracy" if self.exact else "probability"


class AdaptConfig(Section):
    """One adaptation, complete."""

    format: Literal["nas-adapt"] = "nas-adapt"
    version: Literal[2] = 2
    seed: int = Field(0, ge=0)
    network: NetworkSection
    weights: str | None = Field(None, description="file of the network's weights; None: it is trained first")
    training: TrainConfig = Field(description="of the network where it has no weights, and of all that are compared")
    schedule: str = Field("0.01L", description="what each step saves")
    budgets: list[str] = Field(description="RESOURCE=AMOUNT, what is to be come down to")
    groups: Literal["v3", "all"] = "v3"
    max_overshoot: float = Field(
        MAX_OVERSHOOT, gt=0, lt=1, description="part of the target by which the last step may end below it"
    )
    credits_excess: bool = Field(False, description="what a step saves below the target counts for it, too")
    latency: LatencySection = Field(description="how the network is deployed, what prices it")
    judging: JudgingSection = JudgingSection()
    baselines: bool = Field(True, description="a random proposal a step, and the uniform width multiplier, beside it")
    num_trainings: int = Field(
        1, ge=0, description="from scratch of each network that is compared; each has its own seed"
    )
    threads: Positive = Field(1, description="of each task")

    @property
    def arch(self) -> ArchSpec:
        """The network that the adaptation begins with, a layer a block."""
        return one_layer_blocks(parse_arch(self.network.arch))

    @property
    def reductions(self) -> ReductionSchedule:
        """The schedule."""
        return ReductionSchedule.parse(self.schedule)

    @property
    def parsed_budgets(self) -> tuple[Budget, ...]:
        """The budgets."""
        return parse_budgets(self.budgets)

    def rules(self, seed_cost: float, target: float) -> Rules:
        """How the network is adapted, from its own cost to `target`, both in the unit of the cost."""
        select, kinds = RULES[self.judging.selection].select, GROUPS[self.groups]
        return Rules(
            self.reductions,
            seed_cost,
            target,
            selection=select,
            kinds=kinds,
            max_overshoot=self.max_overshoot,
            credits_excess=self.credits_excess,
        )

    def goal(self, num_classes: int, price_ms: Cost | None = None, seed_latency_ms: float | None = None) -> Goal:
        """What is reduced, and how far; arguments as of `Goal.of`, and errors."""
        return Goal.of(
            self.parsed_budgets,
            self.arch,
            self.latency.resolution,
            num_classes,
            price_ms=price_ms,
            seed_latency_ms=seed_latency_ms,
        )

    @property
    def prices_latency(self) -> bool:
        """Whether one of the budgets is of latency, so that a device is needed."""
        return any(budget.resource == "latency" for budget in self.parsed_budgets)

    @property
    def treatment(self) -> Treatment:
        """Of all networks of a step."""
        recipe = self.training.recipe
        return Treatment(
            batch_size=recipe.batch_size,
            learning_rate=self.judging.learning_rate,
            max_shift=recipe.max_shift,
            flip=recipe.flip,
            label_smoothing=recipe.label_smoothing,
            recalibrates=not self.judging.exact,
        )


def read_adapt_config(folder: Path) -> AdaptConfig:
    """The configuration of an adaptation's run folder.

    Raises:
        UserError: not a run folder, or one of another command.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder}: not a run folder of nas adapt (no config.yaml)")
    document = read_mapping(path.read_text(), str(path))
    if document.get("format") != FORMAT:
        raise UserError(f"{folder}: a run of another command than nas adapt")
    return validated(AdaptConfig, _converted(document, path), str(path))


def _converted(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """A configuration of an earlier version in words of this one; version 1 credited what went below the target."""
    match document.get("version"):
        case 1:
            return document | {"version": VERSION, "credits_excess": True}
        case version if version == VERSION:
            return document
        case version:
            raise UserError(f"{path}: version {version}; this program reads 1 and {VERSION}")
