"""The searches of a reproduction."""

from __future__ import annotations

from rich.console import Console

from nas.config import ControllerSection
from nas.images import Images
from nas.report import write_report
from nas.reproduction.reproduce_run import RANDOM, ReproduceRun
from nas.run import Run
from nas.search import search
from nas.trial import Trial


def searched(run: ReproduceRun, stage: str, images: Images, console: Console, ray_address: str | None) -> list[Trial]:
    """The trials of the search, or of a random one of as many trials; carried on from wherever it is.

    Raises:
        UserError, SearchInterruptedError: as `nas.search.search`.
    """
    folder = run.folder / stage
    if not (folder / "config.yaml").is_file():
        config = run.config.search.model_copy(update={"final": None})
        if stage == RANDOM:
            config = config.model_copy(update={"controller": ControllerSection(name="random")})
        with Run.create(config, stage, folder):
            pass
    with Run(folder) as own:
        search(own, images, console, ray_address)
        trials = own.finished_trials()
    write_report(folder)
    return sorted(trials, key=lambda trial: trial.number)
