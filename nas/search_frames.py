"""A search as pandas frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.errors import UserError
from nas.finalist import Finalist
from nas.pareto_frames import pareto_front
from nas.report_layers import group_name, layer_costs
from nas.report_record import RunRecord
from nas.trial import Trial
from nas.typed_frame import LATENCY, accuracy_cells, latency_cells, typed_frame

_TRIALS = {
    "number": "int64",
    "arch": "string",
    "status": "string",
    "accuracy": "float64",
    **LATENCY,
    "reward": "float64",
    "macs": "int64",
    "params": "int64",
    "repeat_of": "Int64",
    "reason": "string",
    "training_s": "float64",
    "finished_unix": "float64",
}
_FINAL = {
    "name": "string",
    "arch": "string",
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    **LATENCY,
    "macs": "int64",
    "params": "int64",
    "num_test": "int64",
    "training_s": "float64",
    "inherited": "bool",
}
_LAYERS = {
    "layer": "string",
    "kind": "string",
    "macs": "int64",
    "params": "int64",
    "time_us": "float64",
}
_KERNELS = {"operation": "string", "layer": "string", "time_us": "float64"}


@dataclass(frozen=True)
class SearchFrames:
    """A search that was read from its folder, finished or not. Each frame is made anew and is yours to change.

    Attributes:
        record: what was read.
    """

    record: RunRecord

    @classmethod
    def read(cls, folder: Path) -> SearchFrames:
        """Read a run folder; changes nothing in it.

        Raises:
            UserError: not a run folder, stopped before its first trial, or a file that is damaged or of another version.
        """
        try:
            return cls(RunRecord.read(folder))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: a damaged file ({error!r}); restore the folder from a copy") from None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.record.name

    @property
    def is_finished(self) -> bool:
        """Nothing is left to be done."""
        return self.record.is_finished

    @property
    def accuracy_label(self) -> str:
        """What the trials' accuracies are, in words: ``held-out accuracy``."""
        return self.record.config.evaluator.label

    @property
    def target_ms(self) -> float:
        """The objective's target in milliseconds; of the first device where there are several."""
        return self.record.objective.target_ms

    @property
    def resolution(self) -> int:
        """Side in pixels of the input at which latencies are measured."""
        return self.record.config.latency.resolution

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier of the measured networks."""
        return self.record.config.latency.num_outputs

    @property
    def devices(self) -> list[str]:
        """Names of the devices, at least one."""
        return self.record.devices

    def on(self, device: str) -> SearchFrames:
        """The run as one of several devices saw it: its latencies and target, the rewards that they make.

        Raises:
            UserError: no device of that name.
        """
        if device not in self.devices:
            raise UserError(f"device {device!r}: this run has {', '.join(self.devices)}")
        return SearchFrames(self.record.by_device.get(device, self.record))

    @property
    def trials(self) -> pd.DataFrame:
        """All trials by number, failed ones and repeats included.

        Columns: ``number``; ``arch``, its string; ``status`` and ``reason``, see `nas.trial.Trial`; ``accuracy`` in [0, 1];
        latency, see `nas.typed_frame.LATENCY`; ``reward``, missing where the trial was not ``ok`` (the controller was told the
        objective's failure reward then); ``macs``, ``params``; ``repeat_of``, number of the earlier trial of the same network;
        ``training_s``, wall seconds; ``finished_unix``.
        """
        return typed_frame(map(_trial_row, self.record.trials), _TRIALS)

    @property
    def choices(self) -> pd.DataFrame:
        """What the controller chose: a row a trial, by number; a column a decision of the space."""
        numbers = pd.Index([trial.number for trial in self.record.trials], name="number")
        return pd.DataFrame([dict(trial.choices) for trial in self.record.trials], index=numbers)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front, fastest first: rows of `trials`."""
        return pareto_front(self.trials)

    @property
    def best(self) -> pd.Series[Any] | None:
        """The winner's row of `trials`: of the final comparison, before it of highest reward; None if none succeeded."""
        winner = self.record.winner
        if winner is None:
            return None
        trials = self.trials
        return trials.loc[trials["number"] == winner.number].iloc[0]

    @property
    def final(self) -> pd.DataFrame:
        """The final comparison, trained alike, ``winner`` first; no rows before it.

        Columns: ``name``, ``winner`` or a network of the zoo; ``accuracy`` on ``num_test`` test images, in [0, 1], with the
        ends of its 95 % interval over images; latency, ``macs``, ``params`` as in `trials`; ``training_s``; ``inherited``,
        whether it began with a supernet's weights.
        """
        device = self.devices[0] if len(self.devices) == 1 else None
        return typed_frame((_final_row(finalist, device) for finalist in self.record.finalists), _FINAL)

    @property
    def layers(self) -> pd.DataFrame:
        """The winner layer by layer; ``time_us``, microseconds under profiling, is missing where it was not profiled.

        A last layer ``other`` is the time of kernels that belong to no layer. No rows where no trial succeeded.
        """
        winner = self.record.winner
        if winner is None:
            return typed_frame((), _LAYERS)
        costs = layer_costs(winner.arch, self.resolution, self.num_classes, self.record.kernels_us)
        return typed_frame(
            ({"layer": cost.name} | {n: getattr(cost, n) for n in (*_LAYERS,)[1:]} for cost in costs), _LAYERS
        )

    @property
    def kernels(self) -> pd.DataFrame:
        """Microseconds of the winner's operations under profiling; no rows where it was not profiled."""
        times = self.record.kernels_us.items()
        return typed_frame(
            ({"operation": n, "layer": group_name(n), "time_us": time_us} for n, time_us in times), _KERNELS
        )


def _trial_row(trial: Trial) -> dict[str, object]:
    names = ("number", "status", "accuracy", "macs", "params", "repeat_of", "reason")
    return {
        **{name: getattr(trial, name) for name in names},
        **latency_cells(trial.latency),
        "arch": str(trial.arch),
        "reward": trial.reward if trial.status == "ok" else None,
        "training_s": trial.times.get("training_s"),
        "finished_unix": trial.times.get("finished_unix"),
    }


def _final_row(finalist: Finalist, device: str | None) -> dict[str, object]:
    names = ("name", "arch", "macs", "params", "num_test", "training_s", "inherited")
    on_device = finalist.measured_on(device) if device else None
    return {
        **{name: getattr(finalist, name) for name in names},
        **accuracy_cells(finalist.num_correct, finalist.num_test),
        **latency_cells(on_device or finalist.measured),
    }
