"""A reproduction as pandas frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from latency.latency import Latency
from nas.netadapt.adapt_frames import AdaptFrames
from nas.netadapt.final_network import FinalNetwork
from nas.reproduction.reproduce_record import ReproduceRecord
from nas.reproduction.reproduce_run import ADAPT, LANDING, RANDOM, SEARCH
from nas.search_frames import SearchFrames
from nas.typed_frame import LATENCY, accuracy_cells, latency_cells, typed_frame

_ACCURACY = {"accuracy": "float64", "accuracy_low": "float64", "accuracy_high": "float64"}
_STAGES = {"stage": "string", "arch": "string", **LATENCY}
_SHORTLIST = {
    "trial": "int64",
    "searched_accuracy": "float64",
    "multiplier": "float64",
    "arch": "string",
    "fitted_multiplier": "float64",
    "fitted": "string",
    "fitted_ms": "float64",
    "accuracy": "float64",
}
_EDITS = {
    "edit": "string",
    "kept": "bool",
    "reason": "string",
    "arch": "string",
    **LATENCY,
    "latency_ratio": "float64",
    "accuracy": "float64",
    "accuracy_change": "float64",
    "accuracy_change_low": "float64",
    "accuracy_change_high": "float64",
    "reward_change": "float64",
}
_FINAL = {
    "name": "string",
    "arch": "string",
    **LATENCY,
    "macs": "int64",
    "params": "int64",
    "num_test": "int64",
    **_ACCURACY,
    "num_trainings": "int64",
    "int8_accuracy": "float64",
    "int8_latency_ms": "float64",
}
_DIFFERENCES = {
    "against": "string",
    "verdict": "string",
    "difference": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "over": "string",
    "number": "int64",
}


@dataclass(frozen=True)
class ReproduceFrames:
    """A reproduction that was read from its folder, finished or not. Each frame is made anew and is yours to change.

    Accuracies are fractions, with the ends of their 95 % interval over images.

    Attributes:
        record: what was read.
    """

    record: ReproduceRecord

    @classmethod
    def read(cls, folder: Path) -> ReproduceFrames:
        """Read a run folder of ``nas reproduce``; changes nothing in it, and raises as `ReproduceRecord.read`."""
        return cls(ReproduceRecord.read(folder))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.record.name

    @property
    def is_finished(self) -> bool:
        """Nothing is left to be done."""
        return self.record.is_finished

    @property
    def arch(self) -> str | None:
        """The network that was found; None before it was."""
        return self.record.arch

    @property
    def target_ms(self) -> float | None:
        """The latency that it had to come down to; None before it was found."""
        return self.record.target_ms

    @property
    def search(self) -> SearchFrames | None:
        """Its search; None where there was none."""
        return self._search(SEARCH)

    @property
    def random_search(self) -> SearchFrames | None:
        """The random search of as many trials; None where there was none."""
        return self._search(RANDOM)

    @property
    def adaptations(self) -> dict[str, AdaptFrames]:
        """Its runs of NetAdapt: ``adapt``, before the edits, and ``landing``, down to the target."""
        folders = {stage: self.record.folder / stage for stage in (ADAPT, LANDING)}
        return {
            stage: AdaptFrames.read(folder) for stage, folder in folders.items() if (folder / "seed.json").is_file()
        }

    @property
    def stages(self) -> pd.DataFrame:
        """What each stage has left: ``stage``, of ``seed``, ``adapt``, ``redesign``, ``landing``; ``arch``; its latency."""
        rows = ({"stage": s.name, "arch": s.arch, **latency_cells(s.latency)} for s in self.record.stages)
        return typed_frame(rows, _STAGES)

    @property
    def shortlist(self) -> pd.DataFrame:
        """The best trials of the search, best first, trained longer to tell which one is the seed; no rows where none was.

        Columns: ``trial``; ``searched_accuracy``, what the search saw; the seed that it would be, ``arch``, its widths those
        of the trial times ``multiplier``; ``fitted``, that brought to the target by ``fitted_multiplier``, its latency
        ``fitted_ms`` and its held-out ``accuracy`` after the longer training.
        """
        rows = ({name: getattr(entry, name) for name in _SHORTLIST} for entry in self.record.shortlist)
        return typed_frame(rows, _SHORTLIST)

    @property
    def edits(self) -> pd.DataFrame:
        """The edits by hand, in the order in which they were tried.

        Columns: ``edit``; whether it was ``kept``, and the ``reason``; of the network after it ``arch``, latency, held-out
        ``accuracy``; against the network before ``latency_ratio``, ``accuracy_change`` with its 95 % interval over images, and
        ``reward_change``, of the search's objective. Missing where the edit does not fit.
        """
        rows = []
        for trial in self.record.edits:
            row: dict[str, object] = {name: getattr(trial, name) for name in ("edit", "kept", "reason", "arch")}
            row |= latency_cells(Latency.from_dict(dict(trial.latency)) if trial.latency else None)
            row |= {name: getattr(trial, name) for name in ("latency_ratio", "accuracy", "reward_change")}
            if trial.change is not None and trial.half_width is not None:
                row |= {
                    "accuracy_change": trial.change,
                    "accuracy_change_low": trial.change - trial.half_width,
                    "accuracy_change_high": trial.change + trial.half_width,
                }
            rows.append(row)
        return typed_frame(rows, _EDITS)

    @property
    def final(self) -> pd.DataFrame:
        """The final comparison, what was found first; no rows before it.

        Columns: ``name``; ``arch``, latency, ``macs``, ``params``; ``accuracy`` on ``num_test`` test images, the mean of
        ``num_trainings`` from scratch; ``int8_accuracy`` of the first of them and ``int8_latency_ms``, missing where it was
        not quantised.
        """
        return typed_frame(map(self._final_row, self.record.networks), _FINAL)

    @property
    def differences(self) -> pd.DataFrame:
        """What was found against each other network: difference of test accuracies, paired by the seed of the training."""
        rows = (
            {
                "against": other.name,
                "verdict": found.verdict,
                "difference": found.mean,
                "difference_low": found.interval[0],
                "difference_high": found.interval[1],
                "over": found.over,
                "number": found.number,
            }
            for other, found in self.record.differences
        )
        return typed_frame(rows, _DIFFERENCES)

    def _search(self, stage: str) -> SearchFrames | None:
        folder = self.record.folder / stage
        return SearchFrames.read(folder) if (folder / "environment.json").is_file() else None

    def _final_row(self, network: FinalNetwork) -> dict[str, object]:
        correct, quantised = network.mean_correct, self.record.int8.get(network.name)
        row: dict[str, object] = {
            name: getattr(network, name) for name in ("name", "arch", "macs", "params", "num_test")
        }
        row |= latency_cells(network.latency) | {"num_trainings": len(network.trained)}
        row |= accuracy_cells(correct, network.num_test) if correct is not None else {}
        if quantised:
            row["int8_accuracy"] = quantised.num_correct / network.num_test
            row["int8_latency_ms"] = quantised.latency.latency_ms
        return row
