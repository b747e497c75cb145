"""`nas bench controllers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.latency_cli import Json, print_json

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks of the search itself.")


@bench_app.callback()
def _bench() -> None:
    """Benchmarks of the search itself."""


@bench_app.command("controllers")
def controllers_command(
    benchmark: Annotated[
        Path, typer.Option(help="CSV of trained networks: of Accel-NASBench or NAS-Bench-Macro.", metavar="FILE")
    ],
    controllers: Annotated[
        str | None, typer.Option(help="Names, separated by commas; default: all.", metavar="A,B")
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", help="One more, e.g. 'b16=ppo {batch_size: 16}'. Repeatable.", metavar="LABEL=NAME {OPTIONS}"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each controller.")] = 30,
    samples: Annotated[int, typer.Option(min=1, help="Candidates of each run.")] = 1000,
    target_ms: Annotated[
        float | None, typer.Option(help="T of ACC x (LAT/T)^w; default: the benchmark's (4 ms).")
    ] = None,
    exponent: Annotated[float | None, typer.Option("--w", help="w; default: the benchmark's (-0.07).")] = None,
    description: Annotated[
        Path | None, typer.Option(help="What another table's columns are; see experiments/tables.", metavar="FILE")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Beside each other; default: one a core.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the picture of regret there.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """How fast controllers find good networks: every one from many seeds, regret with 95 % intervals.

    The networks were trained by others; a table or a surrogate answers at once. The tables are public:
    github.com/afzalxo/Accel-NASBench, github.com/xiusu/NAS-Bench-Macro.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from latency.cores import available_cores
    from nas.controller_bench.benchmark import open_benchmark
    from nas.controller_bench.contestants import chosen
    from nas.controller_bench.description import read_description, recognised
    from nas.controller_bench.outcome import Result
    from nas.controller_bench.picture import write_picture
    from nas.controller_bench.race import race

    log = Console(stderr=True)
    described = read_description(description) if description else recognised(benchmark)
    with log.status("reading the table, fitting surrogates (half a minute each, once) ..."):
        problem = open_benchmark(benchmark, described, target_ms, exponent)
    for column, quality in problem.qualities.items():
        log.print(f"surrogate {column}: {quality}", highlight=False, soft_wrap=True)
    contestants = chosen(controllers, variants or [], problem.choices, len(problem.corner))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log) as progress:
        task = progress.add_task("runs", total=len(contestants) * seeds)

        def finished(label: str, number: int) -> None:
            progress.advance(task, number)
            if not log.is_terminal:  # a file gets lines, for a bar would show only in the end
                log.print(
                    f"{label}: {number} seeds done, {progress.tasks[0].remaining:.0f} runs to go", highlight=False
                )

        runs = race(
            problem,
            contestants,
            seeds,
            samples,
            processes or len(available_cores()) or 1,
            finished,
        )
    result = Result(problem, contestants, runs)
    if html is not None:
        write_picture(html, result)
    if as_json:
        print_json(result.to_dict())
        return
    console = Console()
    console.print(
        f"{problem.name} ({problem.source}), {seeds} seeds, mean and half-width of the 95 % interval",
        highlight=False,
        soft_wrap=True,
    )
    for title, table in result.tables():
        console.print(f"\n{title}", style="bold", highlight=False, soft_wrap=True)
        console.print(table)
