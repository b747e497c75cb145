"""An adaptation as pandas frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nas.netadapt.adapt_record import AdaptJournal
from nas.netadapt.final_network import FinalNetwork, trusted
from nas.netadapt.step_record import CandidateRecord, StepRecord
from nas.netadapt.words import step_words
from nas.typed_frame import LATENCY, accuracy_cells, latency_cells, typed_frame

_ACCURACY = {"accuracy": "float64", "accuracy_low": "float64", "accuracy_high": "float64"}
_STEPS = {
    "step": "int64",
    "arch": "string",
    "cost": "float64",
    **LATENCY,
    **_ACCURACY,
    "num_images": "int64",
    "group": "string",
    "width": "string",
    "before": "Int64",
    "after": "Int64",
    "predicted_ratio": "float64",
    "measured_ratio": "float64",
    "measured_ratio_low": "float64",
    "measured_ratio_high": "float64",
    "seconds": "float64",
}
_PROPOSALS = {
    "step": "int64",
    "group": "string",
    "width": "string",
    "kind": "string",
    "before": "int64",
    "after": "int64",
    "saving": "float64",
    "accuracy": "float64",
    "accuracy_change": "float64",
    "accuracy_change_low": "float64",
    "accuracy_change_high": "float64",
    "slope": "float64",
    "accepted": "bool",
    "tied": "bool",
    "eliminated": "bool",
}
_WIDTHS = {"step": "int64", "group": "string", "width": "string", "channels": "int64", "share": "float64"}
_UNIFORM = {
    "multiplier": "float64",
    "arch": "string",
    "cost": "float64",
    **LATENCY,
    **_ACCURACY,
    "num_images": "int64",
}
_FINAL = {
    "name": "string",
    "arch": "string",
    "cost": "float64",
    **LATENCY,
    "macs": "int64",
    "params": "int64",
    "num_test": "int64",
    **_ACCURACY,
    "num_trainings": "int64",
    "fine_tuned_accuracy": "float64",
    "fine_tuned_accuracy_low": "float64",
    "fine_tuned_accuracy_high": "float64",
}


@dataclass(frozen=True)
class AdaptFrames:
    """An adaptation that was read from its folder, finished or not. Each frame is made anew and is yours to change.

    Costs are in `unit`; accuracies are fractions, with the ends of their 95 % interval over images.

    Attributes:
        journal: what was read.
    """

    journal: AdaptJournal

    @classmethod
    def read(cls, folder: Path) -> AdaptFrames:
        """Read a run folder of ``nas adapt``; changes nothing in it, and raises as `AdaptJournal.read`."""
        return cls(AdaptJournal.read(folder))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.journal.name

    @property
    def is_finished(self) -> bool:
        """Nothing is left to be done."""
        return self.journal.is_finished

    @property
    def network(self) -> str:
        """Name of the network that it began with."""
        return self.journal.seed.network

    @property
    def unit(self) -> str:
        """Of all costs: ``ms``, ``MACs``, ``params`` or ``x budget``."""
        return self.journal.unit

    @property
    def target(self) -> float:
        """Cost to come down to."""
        return self.journal.seed.target

    @property
    def steps(self) -> pd.DataFrame:
        """The accepted steps; step 0 is the network that it began with, and has no change.

        Columns: ``arch`` after the step; ``cost`` as it counts; its latency, missing where nothing is measured; ``accuracy``
        on the ``num_images`` held-out images, with the weights as they are kept; ``group`` and ``width``, name and words
        of what was narrowed, from ``before`` to ``after`` channels; ``predicted_ratio``, price over the parent's;
        ``measured_ratio``, the same measured, with its 95 % interval; ``seconds`` of wall time.
        """
        return self._way(self.journal.steps)

    @property
    def random_steps(self) -> pd.DataFrame:
        """As `steps`, of the baseline that accepts any proposal; no rows where it was not run."""
        return self._way(self.journal.random) if self.journal.random else typed_frame((), _STEPS)

    @property
    def proposals(self) -> pd.DataFrame:
        """All proposals that were scored, step by step.

        Columns: ``group``, ``width``, ``before``, ``after`` as in `steps`; ``kind`` of the group; ``saving`` in `unit`;
        ``accuracy`` and ``accuracy_change``, against the parent that was trained as much without being changed, with its
        95 % interval; ``slope``, change of accuracy for each unit of cost that is saved; whether it was ``accepted``, was
        ``tied`` with the accepted one, or was ``eliminated`` before the last round, where it was judged on less.
        """
        return typed_frame((row for step in self.journal.steps for row in _proposal_rows(step)), _PROPOSALS)

    @property
    def widths(self) -> pd.DataFrame:
        """Every width that may be narrowed, after each step: ``channels``, and the ``share`` of those of step 0."""
        from nas.netadapt.adapt_tables import widths_of  # takes plotly's second

        archs = [self.journal.seed.arch, *(step.arch for step in self.journal.steps)]
        words, first = self._words, widths_of(archs[0])
        rows = (
            {
                "step": step,
                "group": group,
                "width": words[group],
                "channels": channels,
                "share": channels / first[group],
            }
            for step, arch in enumerate(archs)
            for group, channels in widths_of(arch).items()
        )
        return typed_frame(rows, _WIDTHS)

    @property
    def uniform(self) -> pd.DataFrame:
        """The seed with all its widths times ``multiplier``, at the target's cost; no row where it was not made."""
        uniform = self.journal.uniform
        if uniform is None:
            return typed_frame((), _UNIFORM)
        names = ("multiplier", "arch", "cost", "num_images")
        cells = {name: getattr(uniform, name) for name in names} | latency_cells(uniform.latency)
        return typed_frame(
            [cells | accuracy_cells(uniform.accuracy * uniform.num_images, uniform.num_images)], _UNIFORM
        )

    @property
    def final(self) -> pd.DataFrame:
        """The final comparison; no rows before it.

        Columns: ``name``, of ``seed``, ``adapted``, ``uniform``, ``random``; ``cost``, latency, ``macs``, ``params``;
        ``accuracy`` on ``num_test`` test images, the mean of ``num_trainings`` from scratch; ``fine_tuned_accuracy``, with
        the weights that the adaptation left. Either is missing where there is none.
        """
        return typed_frame(map(_final_row, self.journal.finals), _FINAL)

    @property
    def _words(self) -> dict[str, str]:
        from nas.netadapt.words import width_words
        from search_spaces.arch_string import parse_arch
        from search_spaces.edits import one_layer_blocks

        return width_words(one_layer_blocks(parse_arch(self.journal.seed.arch)))

    def _way(self, steps: Sequence[StepRecord]) -> pd.DataFrame:
        seed = self.journal.seed
        first = {"step": 0, "arch": seed.arch, "cost": seed.cost, "num_images": seed.num_images}
        first |= latency_cells(seed.latency) | accuracy_cells(seed.accuracy * seed.num_images, seed.num_images)
        return typed_frame([first, *map(_step_row, steps)], _STEPS)


def _step_row(step: StepRecord) -> dict[str, object]:
    choice, change = step.choice, trusted(step.change)
    low, high = change.ratio_interval if change else (None, None)
    return {
        **{name: getattr(step, name) for name in ("step", "arch", "cost", "num_images", "predicted_ratio", "seconds")},
        **latency_cells(step.latency),
        **accuracy_cells(step.accuracy * step.num_images, step.num_images),
        **{name: getattr(choice, name) for name in ("group", "before", "after")},
        "width": step_words(step).get(choice.group),
        "measured_ratio": change.ratio if change else None,
        "measured_ratio_low": low,
        "measured_ratio_high": high,
    }


def _proposal_rows(step: StepRecord) -> Iterator[dict[str, object]]:
    words, accepted = step_words(step), step.choice
    for candidate in step.candidates:
        yield {
            **_scored(candidate),
            "step": step.step,
            "width": words.get(candidate.group),
            "accepted": candidate is accepted,
            "tied": candidate.group in step.tied and not candidate.eliminated,
        }


def _scored(candidate: CandidateRecord) -> dict[str, object]:
    names = ("group", "kind", "before", "after", "saving", "accuracy", "accuracy_change", "slope", "eliminated")
    return {
        **{name: getattr(candidate, name) for name in names},
        "accuracy_change_low": candidate.accuracy_change - candidate.half_width,
        "accuracy_change_high": candidate.accuracy_change + candidate.half_width,
    }


def _final_row(network: FinalNetwork) -> dict[str, object]:
    names = ("name", "arch", "cost", "macs", "params", "num_test")
    return {
        **{name: getattr(network, name) for name in names},
        **latency_cells(network.latency),
        **accuracy_cells(network.mean_correct, network.num_test),
        "num_trainings": len(network.trained),
        **accuracy_cells(network.fine_tuned_correct, network.num_test, "fine_tuned_accuracy"),
    }
