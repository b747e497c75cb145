"""An adaptation with weights, images and disk: each step judged, trained, measured, kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from latency.latency import Latency
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.adapt_data import AdaptData
from nas.netadapt.adapt_run import Trajectory
from nas.netadapt.adaptation import Judge, Judgement, Position, Rules, Step, adapt
from nas.netadapt.arms import Arms
from nas.netadapt.outcomes import Outcomes
from nas.netadapt.pricing import Pricing, Settlement
from nas.netadapt.proposal import Proposal
from nas.netadapt.selection import Rule
from nas.netadapt.step_record import StepRecord, candidate_records
from nas.netadapt.tournament import Tournament
from nas.netadapt.weighted_network import WeightedNetwork


@dataclass(frozen=True)
class Seed:
    """Where a descent begins.

    Attributes:
        network: with its weights.
        cost: L.
        latency: measured; None where nothing is measured.
    """

    network: WeightedNetwork
    cost: float
    latency: Latency | None


@dataclass(frozen=True)
class _Accepted:
    network: WeightedNetwork
    right: Outcomes
    settled: Settlement


MakeJudge = Callable[[WeightedNetwork], Judge]
"""The parent with its weights -> who judges the proposals of a step."""


def tournaments(config: AdaptConfig, arms: Arms, rule: Rule) -> MakeJudge:
    """Judges by rounds, see `Tournament`."""

    def judge(network: WeightedNetwork) -> Judge:
        return Tournament(config.judging.rounds, partial(arms.score, network), rule)

    return judge


def lottery(config: AdaptConfig, arms: Arms, rule: Rule) -> MakeJudge:
    """Takes any of the proposals, all equally likely, and scores it alone: what the rules have to beat."""

    def judge(network: WeightedNetwork) -> Judge:
        last = Tournament(config.judging.rounds[-1:], partial(arms.score, network), rule)

        def one(parent: Position, proposals: Sequence[Proposal]) -> Judgement:
            return last(parent, [proposals[drawn(config.seed, parent, proposals)]])

        return one

    return judge


def drawn(seed: int, parent: Position, proposals: Sequence[Proposal]) -> int:
    """Number of the proposal that is taken by lot in the step from `parent`: a function of `seed` and of the step's number."""
    return int(np.random.default_rng([seed, parent.step]).integers(len(proposals)))


def descend(
    seed: Seed,
    rules: Rules,
    trajectory: Trajectory,
    pricing: Pricing,
    arms: Arms,
    make_judge: MakeJudge,
    num_steps: int,
    data: AdaptData,
    accepted: Callable[[StepRecord], None],
    clock: Callable[[], float] = time.monotonic,
) -> WeightedNetwork:
    """Steps until the target is met, each kept with its network before the next begins; goes on after the last one kept.

    Args:
        seed: where `trajectory` begins.
        rules: of the adaptation.
        trajectory: gets the steps.
        pricing: of networks.
        arms: trains and scores them.
        make_judge: who judges.
        num_steps: of fine-tuning of each accepted network.
        data: that it is trained and scored on.
        accepted: told each step.
        clock: in seconds.

    Returns:
        The last network.

    Raises:
        UnreachableError: the target cannot be met; the steps before it stand.
        UserError: a task or a measurement failed.
    """
    network, position, latency = seed.network, Position(seed.network.arch, seed.cost), seed.latency
    if trajectory.records:
        last = trajectory.records[-1]
        arms.forget(last.step)
        network = trajectory.network(last.step, network.resolution, network.num_classes)
        position, latency = Position(network.arch, last.cost, last.step), last.latency
    taken: dict[int, _Accepted] = {}

    def judge(parent: Position, proposals: Sequence[Proposal]) -> Judgement:
        return make_judge(network)(parent, proposals)

    def settle(parent: Position, proposal: Proposal) -> float:
        kept, right = arms.finish(network, parent, proposal.arch, num_steps)
        trajectory.keep(parent.step + 1, kept, data.sample, data.metadata)
        settled = pricing.settle(parent.arch, latency, proposal.arch)
        taken[parent.step + 1] = _Accepted(kept, right, settled)
        return settled.cost

    started = clock()
    for step in adapt(position, rules, lambda arch: pricing.model.cost(arch), judge, settle):
        done = taken.pop(step.position.step)
        record = _record(step, done, clock() - started)
        trajectory.append(record)
        arms.forget(record.step)
        network, latency, started = done.network, done.settled.latency, clock()
        accepted(record)
    return network


def _record(step: Step, done: _Accepted, seconds: float) -> StepRecord:
    chosen, settled = step.choice.candidate.proposal, done.settled
    return StepRecord(
        step=step.position.step,
        parent=str(step.parent.arch),
        arch=str(step.position.arch),
        asked=step.asked,
        reduction=step.reduction,
        predicted=chosen.cost,
        cost=settled.cost,
        latency=settled.latency,
        change=settled.change,
        predicted_ratio=settled.predicted_ratio,
        control=step.judgement.parent,
        candidates=candidate_records(step),
        accepted=chosen.group,
        tied=tuple(dict.fromkeys((*step.choice.tied, *step.judgement.tied))),
        accuracy=float(done.right.mean()),
        num_images=len(done.right),
        seconds=round(seconds, 3),
    )
