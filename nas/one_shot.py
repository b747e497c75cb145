"""One-shot reinforcement learning: weights and policy trained together in one run, then candidates drawn from the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from controllers.build import build_controller
from controllers.reinforce import ReinforceConfig, ReinforceController
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import best_device
from nas.evaluators import supernet_evaluator
from nas.images import Images
from nas.over_devices import DeviceObjectives
from nas.policy_training import PolicyTask, PolicyTraining, warm_up_steps
from nas.quote import Quoter
from nas.study import Constraints
from nas.supernet_evaluator import SupernetEvaluator
from nas.training import steps_per_epoch
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts

NAME = "one_shot"
"""As recipes call it, in ``evaluator.name``."""


def check_one_shot(config: Config) -> None:
    """Raise UserError where a recipe of `NAME` has another controller, or latencies that are not known at once."""
    if config.evaluator.name != NAME:
        return
    if config.controller.name != "reinforce":
        raise UserError(
            f"evaluator.name: {NAME} trains a policy by controller.name = reinforce; the recipe says "
            f"{config.controller.name}"
        )
    section = config.latency
    if section.name not in ("table", "hybrid") or section.table is None:
        lacks = "no latency.table" if section.name in ("table", "hybrid") else f"latency.name = {section.name}"
        raise UserError(
            f"evaluator.name: {NAME} needs latencies that are known at once, and the recipe has {lacks}; build a table "
            f"with: nas latency table build {_build_flags(config)} --out FILE; then set latency.name=table and "
            "latency.table=FILE"
        )


def _build_flags(config: Config) -> str:
    section = config.latency
    classes = f" --num-classes {section.num_classes}" if section.num_classes else ""
    return (
        f"--space {config.search_space.name} --resolution {section.resolution}{classes} --reference {section.reference}"
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """Latencies of candidates, known at once.

    Attributes:
        quoter: asked before the first trial.
        objectives: of the run.
        counts: of a network.
        digest: of the table that the quoter reads.
    """

    quoter: Quoter
    objectives: DeviceObjectives
    counts: Callable[[ArchSpec], Counts]
    digest: str

    def latency_ms(self, constraints: Constraints) -> Callable[[ArchSpec], float | None]:
        """Milliseconds of a candidate; None where it breaks a constraint or has no price."""

        def price(arch: ArchSpec) -> float | None:
            if constraints.violation(self.counts(arch)):
                return None
            quote = self.quoter.quote(arch, ())
            if quote.measures_at_once or quote.failure:
                return None
            return self.objectives.latency(quote.latencies).latency_ms

        return price


def one_shot(
    config: Config, images: Images, prices: Prices, console: Console
) -> tuple[SupernetEvaluator, ReinforceController]:
    """Train weights and policy of `config`, unless that was done before.

    Args:
        config: a recipe of `NAME`.
        images: its data set.
        prices: of candidates.
        console: shows progress, and what the policy has come to.

    Returns:
        What scores candidates with the shared weights, and the policy's controller, which has learned.

    Raises:
        UserError: training diverged, or its folder cannot be used.
    """
    policy = _policy(config, images, prices)
    evaluator, _ = supernet_evaluator(config, images, console, policy)
    console.print(f"policy    {_finding(config, policy, prices)}", highlight=False, soft_wrap=True, markup=False)
    return evaluator, policy.controller


def _policy(config: Config, images: Images, prices: Prices) -> PolicyTraining:
    section, constraints = config.evaluator.policy, Constraints(**config.constraints.model_dump())
    training, holdout = images.split(config)
    recipe = TrainingRecipe(**config.evaluator.supernet.training.model_dump())
    num_steps = recipe.epochs * steps_per_epoch(len(training), recipe)
    num_told = (num_steps - warm_up_steps(section.warm_up, num_steps)) * section.num_candidates
    task = PolicyTask(
        reinforce=_reinforce(config, num_told),
        objective=prices.objectives.first,
        latency=prices.digest,
        constraints=constraints,
        num_candidates=section.num_candidates,
        num_images=section.num_images,
        warm_up=section.warm_up,
    )
    on_device = holdout.to(best_device())
    return PolicyTraining(task, config.search_space, config.seed, on_device, prices.latency_ms(constraints))


def _reinforce(config: Config, num_told: int) -> ReinforceConfig:
    """The constants of the recipe's controller.

    Candidates may repeat, whatever the preset, for each time they train the weights; and `paper` raises its learning rate
    over the whole run, as TuNAS does, since here its length is known. Options of the recipe come before both.
    """
    given = config.controller.options
    ours: Mapping[str, Any] = {"num_draws": 1}
    if given.get("preset") == "paper":
        ours = {**ours, "tenfold_after": num_told}
    controller = build_controller("reinforce", config.search_space.choices, config.seed, {**ours, **given})
    assert isinstance(controller, ReinforceController)
    return controller.config


def _finding(config: Config, policy: PolicyTraining, prices: Prices) -> str:
    """The most likely candidate, its price, and how decided the policy is."""
    weight = np.exp(policy.controller.logits - policy.controller.logits.max(axis=1, keepdims=True))
    certainty = float((1 / weight.sum(axis=1)).mean())
    arch = config.search_space.decode(policy.controller.most_likely())
    price = prices.latency_ms(policy.task.constraints)(arch)
    milliseconds = "without a price" if price is None else f"{price:.3f} ms"
    target = f"the target is {policy.task.objective.target_ms:.3f} ms"
    return f"most likely: {arch}, {milliseconds} ({target}); its options have a mean probability of {certainty:.2f}"
