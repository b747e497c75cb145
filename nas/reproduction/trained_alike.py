"""Networks trained alike, from scratch, by the recipe of a reproduction's comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from nas.config import FinalSection
from nas.finale import FinalTraining, train_finalists
from nas.finalist import Finalist
from nas.images import Images
from nas.reproduction.reproduce_run import ReproduceRun
from nas.training import ImageSet


def trained_alike(
    run: ReproduceRun,
    trainings: Sequence[FinalTraining],
    training: ImageSet,
    test: ImageSet,
    images: Images,
    console: Console,
) -> list[Finalist]:
    """What came of each training by the comparison's recipe, in their order; needs Ray.

    Args:
        run: its resources and its recipe.
        trainings: side by side.
        training: trained on.
        test: judged on; none of them is in `training`.
        images: the data set that both are of.
        console: shows which are done.

    Raises:
        UserError: a training failed; what was done is kept.
    """
    final = FinalSection(baselines=[], training=run.config.comparison.training)
    return train_finalists(
        trainings,
        {},
        lambda _: None,
        training,
        test,
        images.dataset.num_classes,
        run.config.search.model_copy(update={"final": final}),
        lambda done: console.print(f"trained   {done.name}, seed {done.seed}", highlight=False),
    )
