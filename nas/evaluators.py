"""The evaluator that a recipe names, made ready."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from latency.cores import available_cores
from nas.config import Config
from nas.data_split import stratified_draw
from nas.evaluator import Evaluator, ProxyTrainer, RecordedEvaluator, best_device
from nas.images import Images
from nas.network import resolve_network
from nas.policy_training import PolicyTraining
from nas.supernet_evaluator import SupernetEvaluator
from nas.table_evaluator import fitted_evaluator
from nas.trained_supernet import SupernetRecipe, SupernetTask, trained_supernet
from nas.training_recipe import TrainingRecipe
from nas.zero_cost import ZeroCostEvaluator


def build_evaluator(config: Config, images: Images | None, console: Console) -> Evaluator:
    """The evaluator of `config`; a supernet is trained first, and a surrogate fitted, unless that was done before.

    Not for one-shot searches, whose evaluator comes with a policy: `nas.one_shot`.

    Args:
        config: the recipe.
        images: the data set, where the evaluator trains.
        console: shows progress.

    Raises:
        UserError: what it needs cannot be used.
    """
    section = config.evaluator
    if section.name == "recorded":
        assert section.run is not None
        return RecordedEvaluator.of_run(Path(section.run))
    if section.name == "table":
        with console.status("fitting the surrogate (half a minute, once) ..."):
            evaluator, quality = fitted_evaluator(config)
        console.print(f"accuracy  {section.label}: {quality}", highlight=False, soft_wrap=True)
        return evaluator
    assert images is not None
    if section.name == "supernet":
        return supernet_evaluator(config, images, console)[0]
    if section.name == "zero_cost":
        training, _ = images.split(config)
        return ZeroCostEvaluator(section.score, config.search_space, training, images.dataset.num_classes, config.seed)
    return proxy_trainer(config, images, TrainingRecipe(**section.training.model_dump()))


def proxy_trainer(config: Config, images: Images, recipe: TrainingRecipe) -> ProxyTrainer:
    """Trains candidates of `config` by `recipe`, each by itself."""
    training, holdout = images.split(config)
    return ProxyTrainer(training, holdout, recipe, images.dataset.num_classes)


def supernet_evaluator(
    config: Config, images: Images, console: Console, policy: PolicyTraining | None = None
) -> tuple[SupernetEvaluator, float]:
    """The supernet of `config`, trained on all cores that there are, with the held-out images that score candidates.

    Args:
        config: the recipe.
        images: the data set.
        console: shows progress.
        policy: fresh, of the recipe's space: it is trained with the supernet and chooses what that trains.

    Returns:
        The evaluator, and the wall seconds that the training has taken, now or before.
    """
    section = config.evaluator.supernet
    training, holdout = images.split(config)
    task = SupernetTask(
        space=config.search_space,
        data=images.dataset.fingerprint,
        num_images=len(training),
        resolution=config.data.resolution,
        num_classes=images.dataset.num_classes,
        seed=config.seed,
        recipe=SupernetRecipe(
            training=TrainingRecipe(**section.training.model_dump()),
            sharing=section.sharing,
            sampling=section.sampling,
            anchor=str(resolve_network(section.anchor)) if section.anchor else None,
        ),
        policy=policy.task if policy else None,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(len(available_cores()) or threads)
    try:
        folder = Path(section.folder) if section.folder else None
        supernet, seconds = trained_supernet(task, training.to(best_device()), console, folder, policy)
    finally:
        torch.set_num_threads(threads)
    if section.num_images < len(holdout):
        chosen = stratified_draw(holdout.labels.numpy(), section.num_images, config.seed)
        holdout = holdout.select(torch.from_numpy(chosen))
    return SupernetEvaluator(supernet.cpu(), holdout), seconds
