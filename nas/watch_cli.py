"""`nas watch`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

POLL_S = 1.0


def watch_command(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    once: Annotated[bool, typer.Option("--once", help="Print where it stands, and end.")] = False,
) -> None:
    """Follow a search, an adaptation or a reproduction from its folder alone, wherever it runs; Ctrl-C leaves it be.

    [bold]nas watch runs/mnas_large-1[/bold]
    """
    from nas.netadapt.adapt_record import is_adaptation
    from nas.netadapt.adapt_watch import show_adaptation, watch_adaptation
    from nas.reproduction.reproduce_config import is_reproduction
    from nas.reproduction.reproduce_watch import show_reproduction, watch_reproduction
    from nas.run_watch import show_search, watch_search

    console = Console()
    if is_reproduction(run):
        show, watch = show_reproduction, watch_reproduction
    else:
        show, watch = (show_adaptation, watch_adaptation) if is_adaptation(run) else (show_search, watch_search)
    if once:
        show(run, console)
        return
    try:
        watch(run, console, lambda: time.sleep(POLL_S))
    except KeyboardInterrupt:
        console.print(f"the run goes on; watch it again with: nas watch {run}", highlight=False, soft_wrap=True)
