"""The training of a run, taken up where its checkpoint is: by one process, or by several that share each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from nas.captured_gradients import network_gradients
from nas.checkpoint import read_checkpoint, write_checkpoint
from nas.data import holdout_split
from nas.distillation import Distillation
from nas.errors import UserError
from nas.image_set import ImageSource
from nas.share import ALONE, Share
from nas.train_config import TrainConfig
from nas.train_data import TrainingData, splits
from nas.train_run import TEACHER, TrainFolder, TrainRun
from nas.trained import find_trained
from nas.training import DivergedError, Epoch, Training, num_correct, own_randomness, steps_per_epoch
from nas.training_recipe import bn_momentum
from nas.weights import load_weights
from search_spaces.lower import lower
from search_spaces.torch_module import GraphModule, build_module

_SEED_BITS = 32  # of dropout, for the seed and the images seen; the worker's rank stands above them


@dataclass(frozen=True, slots=True)
class RunTraining:
    """A run's training in one process.

    Attributes:
        folder: of the run.
        module: that is trained.
        training: as far as it is.
        holdout: this worker's part of the images that show progress; None where none are held out.
        num_holdout: how many all workers have of them.
        share: which worker this is.
    """

    folder: TrainFolder
    module: GraphModule
    training: Training
    holdout: ImageSource | None
    num_holdout: int
    share: Share

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left."""
        return self.training.num_epochs >= self.folder.config.recipe.epochs

    def next_epoch(self) -> tuple[Epoch, float | None]:
        """Train for one more; gives it, and the accuracy on images held out, in [0, 1].

        Raises:
            UserError: the training diverged, or images or memory fail it.
        """
        config, share = self.folder.config, self.share
        seed = config.seed + self.training.num_samples + (share.rank << _SEED_BITS)
        try:
            with own_randomness(seed):  # dropout's
                epoch = self.training.next_epoch()
        except DivergedError as error:
            advice = f"begin a new run with a --learning-rate below {config.recipe.learning_rate:g}"
            raise UserError(f"{self.folder.folder}: {error}; {advice}") from None
        if self.holdout is None:
            return epoch, None
        correct = num_correct(self.module, self.holdout) if len(self.holdout) else 0
        return epoch, share.total(correct, self.holdout.device) / self.num_holdout


def take_up(folder: TrainFolder, dataset: TrainingData, device: torch.device, share: Share = ALONE) -> RunTraining:
    """The training of `folder` from its beginning, or from its checkpoint if there is one.

    Args:
        folder: whose teacher, if it has one, is trained.
        dataset: what its configuration names.
        device: that trains.
        share: this worker's part of each batch.

    Raises:
        UserError: the checkpoint is damaged, or the teacher's weights are.
    """
    config = folder.config
    images, holdout = splits(config, dataset)
    module = _module(folder, dataset.num_classes, len(images)).to(device)
    gradients = network_gradients(module, device, config.recipe.label_smoothing, _distillation(folder, device))
    training = Training(module, images.to(device), config.recipe, config.seed, gradients, share)
    if folder.checkpoint.is_file():
        read_checkpoint(folder.checkpoint, training)
    num_holdout = len(holdout) if holdout else 0
    if holdout and share != ALONE:
        holdout = holdout.select(torch.arange(num_holdout)[share.part(num_holdout)])
    return RunTraining(folder, module, training, holdout and holdout.to(device), num_holdout, share)


def _module(folder: TrainFolder, num_classes: int, num_images: int) -> GraphModule:
    """With the weights that the training begins with."""
    config = folder.config
    num_steps = config.recipe.epochs * steps_per_epoch(num_images, config.recipe)
    graph = lower(config.arch, config.data.resolution, num_classes, training=True)
    module = build_module(graph, config.seed, bn_momentum(config.published, num_steps))
    initial = folder.initial()
    if initial is not None:
        module.load_state_dict(initial)
    return module


def _distillation(folder: TrainFolder, device: torch.device) -> Distillation | None:
    section, resolution = folder.config.teacher, folder.config.data.resolution
    if section is None:
        return None
    trained = find_trained(folder.folder / TEACHER)
    loaded = load_weights(trained.weights, trained.arch, resolution=resolution)
    teacher = build_module(lower(loaded.arch, resolution, loaded.num_classes), seed=0)
    loaded.put_into(teacher)
    return Distillation(teacher.to(device), section.weight, section.temperature)


def num_training(config: TrainConfig, dataset: TrainingData) -> int:
    """Images that train: those that are not held out."""
    if not config.data.holdout:
        return len(dataset.y_train)
    train, _ = holdout_split(dataset.y_train, config.data.holdout, config.seed)
    return len(train)


class TrainObserver(Protocol):
    """Who is told how a training gets on."""

    def stepped(self) -> None:
        """One more step is done."""
        ...

    def finished(self, epoch: Epoch, accuracy: float | None) -> None:
        """An epoch is over; `accuracy` on held-out images, in [0, 1], if there are any."""
        ...


def train_epochs(run: TrainRun, taken: RunTraining, observer: TrainObserver) -> None:
    """All epochs that are left, each followed by a line of the journal and a checkpoint.

    Args:
        run: that `taken` is of.
        taken: up to the run's checkpoint.
        observer: is told of each step and epoch.

    Raises:
        UserError: as `RunTraining.next_epoch`.
    """
    run.begin_after(taken.training.num_epochs)
    taken.training.stepped = observer.stepped
    while not taken.is_done:
        epoch, accuracy = taken.next_epoch()
        run.append(epoch, accuracy)
        write_checkpoint(run.checkpoint, taken.training)
        observer.finished(epoch, accuracy)
