"""Networks trained alike, from scratch, by the recipe of a reproduction's comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from nas.config import FinalSection
from nas.finale import train_finalists
from nas.images import Images
from nas.reproduction.reproduce_run import ReproduceRun
from nas.training import ImageSet
from search_spaces.arch import ArchSpec


def trained_alike(
    run: ReproduceRun,
    networks: Mapping[str, ArchSpec],
    training: ImageSet,
    test: ImageSet,
    images: Images,
    seed: int,
    folder: Path,
    console: Console,
) -> dict[str, int]:
    """Images of `test` right after a training from scratch by the comparison's recipe, of each network; needs Ray.

    Args:
        run: its resources and its recipe.
        networks: name -> network.
        training: trained on.
        test: judged on; none of them is in `training`.
        images: the data set that both are of.
        seed: of all trainings.
        folder: keeps each as it is done.
        console: shows which are done.

    Raises:
        UserError: a training failed; what was done is kept.
    """
    final = FinalSection(baselines=[], training=run.config.comparison.training)
    finalists = train_finalists(
        networks,
        {},
        lambda _: None,
        training,
        test,
        images.dataset.num_classes,
        run.config.search.model_copy(update={"seed": seed, "final": final}),
        folder,
        lambda name: console.print(f"trained   {name}, seed {seed}", highlight=False),
    )
    return {finalist.name: finalist.num_correct for finalist in finalists}
