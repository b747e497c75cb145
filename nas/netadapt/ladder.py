"""The steps of an adaptation as a ladder of networks to deploy: the best one within a budget, copied out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.errors import UserError
from nas.export import ARCH, MODEL, WEIGHTS
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.final_network import trusted
from nas.netadapt.schedule import Amount, within
from nas.netadapt.words import cost_text

FILES = (ARCH, MODEL, WEIGHTS)
Axis = Literal["latency", "cost"]


@dataclass(frozen=True, slots=True)
class Rung:
    """A network of an adaptation that can be deployed.

    Attributes:
        step: its number; 0 is the seed.
        folder: ``arch.json``, ``model.onnx``, ``weights.safetensors``.
        cost: as it counts towards the budget.
        latency_ms: measured, or the cost where that is milliseconds; None where the run has no latencies.
        accuracy: on held-out images, in [0, 1].
    """

    step: int
    folder: Path
    cost: float
    latency_ms: float | None
    accuracy: float


def rungs(record: AdaptRecord) -> tuple[Rung, ...]:
    """The seed and the accepted steps, those whose folder is complete."""
    states = [(0, record.seed.cost, record.seed.latency, record.seed.accuracy)]
    states += [(step.step, step.cost, step.latency, step.accuracy) for step in record.steps]
    found = []
    for number, cost, latency, accuracy in states:
        folder = record.folder / "steps" / f"{number:02d}"
        if all((folder / name).is_file() for name in FILES):
            measured = trusted(latency)
            latency_ms = measured.latency_ms if measured else cost if record.unit == "ms" else None
            found.append(Rung(number, folder, cost, latency_ms, accuracy))
    return tuple(found)


def pick(folder: Path, amount: str, axis: Axis = "latency") -> Rung:
    """The network of highest held-out accuracy among those within a budget, of equal ones the cheapest.

    Args:
        folder: of the run, finished or not.
        amount: the budget: ``0.85L``, a share of the seed's; ``3.0ms``; ``2e8`` where the cost is no milliseconds.
        axis: of what: of the latency, or of the cost that the run reduced.

    Raises:
        UserError: no run, no amount that fits the axis, or nothing within it.
    """
    record = AdaptRecord.read(folder)
    option = f"--{axis}"
    unit = "ms" if axis == "latency" else record.unit
    given = Amount.parse(amount, option, "ms" if unit == "ms" else "")
    value, all_rungs = _VALUES[axis], rungs(record)
    ladder = [(found, rung) for rung in all_rungs if (found := value(rung)) is not None]
    if not ladder:
        raise UserError(_nothing(folder, option, any_complete=bool(all_rungs)))
    seed_amount = _of_seed(record, axis)
    limit = given.of(seed_amount)
    inside = [(found, rung) for found, rung in ladder if within(found, limit)]
    if not inside:
        lowest, rung = min(ladder, key=lambda pair: pair[0])
        raise UserError(
            f"{option} {amount}: the lowest of {folder} is {cost_text(lowest, unit)} "
            f"({lowest / seed_amount:.3f}L), of step {rung.step}; give more, or adapt to a lower target"
        )
    return min(inside, key=lambda pair: (-pair[1].accuracy, pair[0]))[1]


def copy_rung(rung: Rung, out: Path) -> None:
    """Copy the three files of `rung` to the new folder `out`.

    Raises:
        UserError: `out` exists or cannot be made.
    """
    try:
        out.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(rung.folder / name, out / name)
    except FileExistsError:
        raise UserError(f"--out {out}: exists; choose another folder") from None
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None


_VALUES: dict[Axis, Callable[[Rung], float | None]] = {
    "latency": lambda rung: rung.latency_ms,
    "cost": lambda rung: rung.cost,
}


def _of_seed(record: AdaptRecord, axis: Axis) -> float:
    """What ``L`` is."""
    measured = trusted(record.seed.latency)
    return measured.latency_ms if axis == "latency" and measured else record.seed.cost


def _nothing(folder: Path, option: str, *, any_complete: bool) -> str:
    if any_complete:
        return f"{option}: {folder} measured no latencies; pick by what it reduced, as --cost 0.85L"
    return f"{folder}: none of its folders steps/NN has {', '.join(FILES)}; nas adapt --resume {folder} goes on with it"
