"""An adaptation executed again from its journal: with the same accuracies and latencies it must take the same steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latency.latency import Latency
from latency.table import LatencyTable
from nas.errors import UserError
from nas.latency_table import read_table
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adaptation import Judgement, Position, Step, UnreachableError, adapt
from nas.netadapt.corrected_prices import CorrectedPrices, Measured
from nas.netadapt.cost import CostModel
from nas.netadapt.descent import drawn
from nas.netadapt.proposal import Proposal
from nas.netadapt.selection import RULES, Candidate
from nas.netadapt.step_record import CandidateRecord, StepRecord
from nas.replay import PRICE_TOLERANCE, ReplayDifferenceError
from nas.run import TABLE
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks


@dataclass(frozen=True, slots=True)
class AdaptReplay:
    """An adaptation that was executed again without a difference.

    Attributes:
        num_steps: accepted steps that were taken again.
        num_random: of the baseline that accepts any proposal.
        num_proposals: proposals that were made again, priced and compared, of both.
        arch: the network that the adaptation came to.
    """

    num_steps: int
    num_random: int
    num_proposals: int
    arch: ArchSpec


def replay_adaptation(folder: Path) -> AdaptReplay:
    """Execute an adaptation again; nothing is trained or measured, and the folder is not written to.

    In each step all proposals are made anew, at prices corrected by the recorded measurements, and compared with those that
    were scored; the rule chooses among the recorded accuracies; the network that follows must be the recorded one.

    Args:
        folder: of a run of ``nas adapt``.

    Raises:
        UserError: not such a folder, or files that are missing or cannot be read.
        ReplayDifferenceError: something came out differently.
    """
    record = AdaptRecord.read(folder)
    replay = _Replay(record, _table(folder) if record.config.prices_latency else None)
    steps = replay.descent(record.steps, replay.chosen)
    chance = replay.descent(record.random, replay.by_lot)
    arch = steps[-1].position.arch if steps else _seed(record)
    return AdaptReplay(len(steps), len(chance), sum(map(_num_scored, (*record.steps, *record.random))), arch)


@dataclass(frozen=True)
class _Replay:
    record: AdaptRecord
    table: LatencyTable | None

    def descent(self, records: Sequence[StepRecord], judged: _Judged) -> list[Step]:
        """All steps that are recorded, taken again."""
        if not records:
            return []
        config, seed = self.record.config, self.record.seed
        model, learn = self._model()
        rules = config.rules(seed.cost, seed.target)
        by_step = {record.step: record for record in records}

        def judge(parent: Position, proposals: Sequence[Proposal]) -> Judgement:
            found = by_step[parent.step + 1]
            _check_arch(found.step, "parent", parent.arch, found.parent)
            return judged(found, parent, proposals)

        def settle(parent: Position, accepted: Proposal) -> float:
            found = by_step[parent.step + 1]
            _check_arch(found.step, "network", accepted.arch, found.arch)
            predicted_ratio = model.cost(accepted.arch) / model.cost(parent.arch)
            _check_close(found.step, "predicted ratio", predicted_ratio, found.predicted_ratio, model)
            learn(found)
            cost = model.settled(accepted.arch, found.latency.latency_ms if found.latency else None)
            _check_close(found.step, "cost", cost, found.cost, model)
            return found.cost

        taken: list[Step] = []
        try:
            for step in adapt(Position(_seed(self.record), seed.cost), rules, model.cost, judge, settle):
                taken.append(step)
                if step.position.step == len(records):
                    break
        except UnreachableError as error:
            raise ReplayDifferenceError(
                f"step {error.best.step + 1}: recorded, but nothing is left to narrow"
            ) from None
        if len(taken) < len(records):
            raise ReplayDifferenceError(f"step {len(taken) + 1}: recorded, but the target is met before it")
        return taken

    def chosen(self, found: StepRecord, parent: Position, proposals: Sequence[Proposal]) -> Judgement:  # noqa: ARG002
        """The recorded accuracies of all proposals; the rule must choose what was chosen."""
        judgement = _recorded(found, proposals)
        if len(found.candidates) != len(proposals):
            missing = {p.group for p in proposals} ^ {c.group for c in found.candidates}
            raise ReplayDifferenceError(
                f"step {found.step}: other proposals than recorded: {', '.join(sorted(missing))}"
            )
        select = RULES[self.record.config.judging.selection].select
        accepted = select(judgement.candidates).candidate.proposal.group
        if accepted != found.accepted:
            raise ReplayDifferenceError(f"step {found.step}: {accepted} is chosen, recorded {found.accepted}")
        return judgement

    def by_lot(self, found: StepRecord, parent: Position, proposals: Sequence[Proposal]) -> Judgement:
        """The proposal that the seed draws, with its recorded accuracy."""
        accepted = proposals[drawn(self.record.config.seed, parent, proposals)]
        if accepted.group != found.accepted:
            raise ReplayDifferenceError(
                f"random step {found.step}: {accepted.group} is drawn, recorded {found.accepted}"
            )
        return _recorded(found, [accepted])

    def _model(self) -> tuple[CostModel, Callable[[StepRecord], None]]:
        """The cost, and what makes it learn a recorded step."""
        record = self.record
        section, latency = record.config.latency, record.seed.latency
        if self.table is None:
            return record.config.goal(section.num_outputs).model, lambda _: None
        prices = CorrectedPrices(self.table, [Measured(_seed(record), _known(latency, "the seed"))])
        goal = record.config.goal(self.table.num_classes, prices, _known(latency, "the seed").latency_ms)

        def learn(found: StepRecord) -> None:
            what = f"step {found.step}"
            prices.learn(Measured(parse_arch(found.arch), _known(found.latency, what), _known(found.change, what)))

        return goal.model, learn


_Judged = Callable[[StepRecord, Position, Sequence[Proposal]], Judgement]


def _recorded(found: StepRecord, proposals: Sequence[Proposal]) -> Judgement:
    """`proposals` with their recorded accuracies; their widths and savings must be the recorded ones."""
    by_group = {proposal.group: proposal for proposal in proposals}

    def candidate(record: CandidateRecord) -> Candidate:
        proposal = by_group.get(record.group)
        if proposal is None or (proposal.before, proposal.after) != (record.before, record.after):
            now = f"{proposal.before} to {proposal.after}" if proposal else "not proposed"
            raise ReplayDifferenceError(
                f"step {found.step}: {record.group} {now}, recorded {record.before} to {record.after}"
            )
        if not math.isclose(proposal.saving, record.saving, rel_tol=PRICE_TOLERANCE):
            raise ReplayDifferenceError(
                f"step {found.step}: {record.group} saves {proposal.saving!r}, recorded {record.saving!r}"
            )
        return Candidate(proposal, record.accuracy, record.accuracy_change, record.half_width)

    left = tuple(candidate(record) for record in found.candidates if not record.eliminated)
    out = tuple(candidate(record) for record in found.candidates if record.eliminated)
    return Judgement(found.control, left, out, found.tied)


def _num_scored(record: StepRecord) -> int:
    return len(record.candidates)


def _seed(record: AdaptRecord) -> ArchSpec:
    return one_layer_blocks(parse_arch(record.seed.arch))


def _known(latency: Latency | None, what: str) -> Latency:
    if latency is None:
        raise UserError(f"the journal has no latency of {what}; restore the run's files from a copy")
    return latency


def _table(folder: Path) -> LatencyTable:
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"{folder}: its prices cannot be computed again without {TABLE}; restore it from a copy")
    return read_table(path)


def _check_arch(step: int, what: str, now: ArchSpec, recorded: str) -> None:
    if str(now) != recorded:
        raise ReplayDifferenceError(f"step {step}: {what} {now}, recorded {recorded}")


def _check_close(step: int, what: str, now: float, recorded: float, model: CostModel) -> None:
    if not math.isclose(now, recorded, rel_tol=PRICE_TOLERANCE):
        raise ReplayDifferenceError(f"step {step}: {what} {now!r} ({model.unit}), recorded {recorded!r}")
