"""`nas compare`: two reproductions side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nas.latency_cli import Json, print_json

if TYPE_CHECKING:
    from nas.reproduction.agreement import Agreement
    from nas.reproduction.reproduce_record import ReproduceRecord


def compare_command(
    one: Annotated[Path, typer.Argument(help="Run folder of a reproduction.", metavar="A")],
    other: Annotated[Path, typer.Argument(help="Of another one, as a rule with another seed.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Do two finished reproductions agree? Their latencies and accuracies, and what their networks share.

    [bold]nas reproduce mobilenet_v3_large --data photos.npz --set search.seed=1 --out B[/bold]  makes the second one.
    """
    from nas.report import rich_table
    from nas.reproduction.agreement import Agreement
    from nas.reproduction.agreement_tables import (
        decisions_table,
        outcomes_table,
        parts_table,
        settings_table,
        verdict,
    )
    from nas.reproduction.reproduce_record import ReproduceRecord

    agreement = Agreement.of(ReproduceRecord.read(one), ReproduceRecord.read(other))
    if as_json:
        print_json(_document(agreement))
        return
    console = Console()
    console.print(verdict(agreement), highlight=False, markup=False, soft_wrap=True)
    for title, table in (
        ("What was found", outcomes_table(agreement)),
        ("Decisions of the seeds that are equal", decisions_table(agreement)),
        ("Where they work, and with what", parts_table(agreement)),
        ("Settings that differ", settings_table(agreement)),
    ):
        if table.rows:
            console.print(rich_table(table, title, justify="left"))


def _document(agreement: Agreement) -> dict[str, Any]:
    from nas.reproduction.agreement import found

    def run(record: ReproduceRecord) -> dict[str, Any]:
        network = found(record)
        return {
            "run": record.name,
            "arch": network.arch,
            "latency": network.latency and network.latency.to_dict(),
            "target_ms": record.target_ms,
            "accuracies": {str(seed): accuracy for seed, accuracy in network.accuracies.items()},
        }

    difference = agreement.difference
    return {
        "runs": [run(agreement.one), run(agreement.other)],
        "agrees": agreement.agrees,
        "difference": difference and asdict(difference),
        "decisions": [asdict(shared) for shared in agreement.decisions],
        "overall": agreement.overall and asdict(agreement.overall),
        "settings": {key: list(values) for key, values in agreement.settings.items()},
    }
