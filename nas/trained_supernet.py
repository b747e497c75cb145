"""A supernet is trained once: kept in the user's cache folder, under all that it is a function of, and resumed there.

A policy may be trained with it, see `nas.policy_training`; it is kept and resumed with the weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.checkpoint import read_checkpoint, write_checkpoint
from nas.errors import UserError
from nas.image_set import ImageSet
from nas.measurement_cache import cache_folder
from nas.path_gradients import PathGradients
from nas.path_sampling import SAMPLERS, DepartingPaths, PathSampler
from nas.policy_sampler import PolicySampler
from nas.policy_training import PolicyTask, PolicyTraining
from nas.run_folder import lock_folder, write_json
from nas.train_progress import TrainProgress
from nas.training import DivergedError, Epoch, Training, steps_per_epoch
from nas.training_recipe import TrainingRecipe
from nas.weights_file import read_state, write_state
from search_spaces.arch_string import parse_arch
from search_spaces.sharing import Sharing
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet

FORMAT = "nas-supernet"
VERSION = 1
ABOUT = "supernet.json"
WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetRecipe:
    """How a supernet is made.

    Attributes:
        training: of the shared weights; a batch is divided among the candidates of a step.
        sharing: what candidates have in common.
        sampling: which candidates a step trains; a name of `nas.path_sampling.SAMPLERS`. Where there is an anchor it plays
            no part.
        anchor: candidates depart from this network, as a string; see `nas.path_sampling.DepartingPaths`.
    """

    training: TrainingRecipe
    sharing: Sharing = "sliced"
    sampling: str = "fair"
    anchor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetTask:
    """All that a trained supernet is a function of.

    Attributes:
        space: whose candidates.
        data: fingerprint of the data set.
        num_images: of it that train; which ones is a function of `seed`.
        resolution: of the training images, in pixels.
        num_classes: of the data set.
        seed: of split, initial weights, order of images, augmentation and candidates.
        recipe: how.
        policy: what draws its candidates and is trained with it; None where they are drawn blindly.
    """

    space: SearchSpace
    data: str
    num_images: int
    resolution: int
    num_classes: int
    seed: int
    recipe: SupernetRecipe
    policy: PolicyTask | None = None

    def identity(self) -> dict[str, Any]:
        """What tells it from others, ready for JSON; the space by its name and a digest of its candidates."""
        first = {choice.name: choice.options[0] for choice in self.space.choices}
        networks = [str(self.space.to_arch(choices)) for choices in (first, *self.space.neighbours(first))]
        of_space = repr([(choice.name, choice.options) for choice in self.space.choices]) + "\n".join(networks)
        digest = hashlib.sha256(of_space.encode()).hexdigest()[:16]
        fields = {name: getattr(self, name) for name in ("data", "num_images", "resolution", "num_classes", "seed")}
        policy = {"policy": asdict(self.policy)} if self.policy else {}
        recipe = {name: value for name, value in asdict(self.recipe).items() if value is not None}
        return {"space": f"{self.space.name} {digest}", **fields, "recipe": recipe, **policy}

    @property
    def key(self) -> str:
        """16 hexadecimal digits."""
        text = json.dumps([FORMAT, VERSION, self.identity()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def trained_supernet(
    task: SupernetTask,
    images: ImageSet,
    console: Console,
    folder: Path | None = None,
    policy: PolicyTraining | None = None,
) -> tuple[Supernet, float]:
    """The supernet of a task: from its folder, or trained there, from wherever an earlier process has stopped.

    Args:
        task: what is wanted.
        images: of the task, on the device that trains.
        console: shows progress.
        folder: keeps it; by default under the task's key in the user's cache folder.
        policy: the task's, fresh, where it has one. Its controller has learned when this returns.

    Returns:
        The supernet, on the images' device, and the wall seconds that its training has taken in all.

    Raises:
        UserError: the folder holds the supernet of another task, or files that cannot be read; or training diverged.
    """
    folder = folder or cache_folder() / "supernets" / task.key
    identity = task.identity()
    about = _read_about(folder)
    if about is not None:
        _check_identity(folder, about["identity"], identity)
    supernet = Supernet(task.space, task.resolution, task.num_classes, task.recipe.sharing, task.seed)
    if about is not None and about["complete"]:
        _load(supernet, folder / WEIGHTS)
        if policy:
            policy.recall(_num_steps(task, images), folder)
        known = f"supernet  trained before, in {about['seconds']:.0f} s: {folder}"
        console.print(known, highlight=False, soft_wrap=True)
        return supernet.to(images.device), about["seconds"]
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    try:
        return _train(task, supernet.to(images.device), images, folder, console, policy)
    finally:
        os.close(lock)


def _train(
    task: SupernetTask,
    supernet: Supernet,
    images: ImageSet,
    folder: Path,
    console: Console,
    policy: PolicyTraining | None,
) -> tuple[Supernet, float]:
    recipe = task.recipe.training
    blind = _sampler(task, _num_steps(task, images))
    with contextlib.ExitStack() as stack:
        learning = policy.sampler(supernet, blind, _num_steps(task, images), folder) if policy else None
        learner = stack.enter_context(learning) if learning else None
        gradients = PathGradients(supernet, learner or blind, recipe.label_smoothing)
        training = Training(supernet, images, recipe, task.seed, gradients)
        losses, seconds = _resumed(training, folder)
        for sampler in (learner, blind):
            if isinstance(sampler, PolicySampler | DepartingPaths):
                sampler.resume(training.num_epochs * training.steps_per_epoch)
        progress = TrainProgress(console, "supernet", recipe.epochs, training.steps_per_epoch, training.num_epochs)
        training.stepped = progress.stepped
        stack.enter_context(progress)
        while training.num_epochs < recipe.epochs:
            epoch = _next_epoch(training, recipe)
            losses, seconds = [*losses, epoch.loss], seconds + epoch.seconds
            _write_about(folder, task, losses, seconds, complete=False)
            write_checkpoint(folder / CHECKPOINT, training)
            progress.finished(epoch, None)
    write_state(folder / WEIGHTS, supernet.state_dict())
    _write_about(folder, task, losses, seconds, complete=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return supernet, seconds


def _sampler(task: SupernetTask, num_steps: int) -> PathSampler:
    if task.recipe.anchor is None:
        return SAMPLERS[task.recipe.sampling]
    return DepartingPaths(task.space.encode(parse_arch(task.recipe.anchor)), num_steps)


def _num_steps(task: SupernetTask, images: ImageSet) -> int:
    return task.recipe.training.epochs * steps_per_epoch(len(images), task.recipe.training)


def _resumed(training: Training, folder: Path) -> tuple[list[float], float]:
    """Losses and seconds of the epochs that an earlier process did, after which `training` is now."""
    about = _read_about(folder)
    if about is None or not (folder / CHECKPOINT).is_file():
        return [], 0.0
    read_checkpoint(folder / CHECKPOINT, training)
    return about["losses"][: training.num_epochs], about["seconds"]


def _next_epoch(training: Training, recipe: TrainingRecipe) -> Epoch:
    try:
        return training.next_epoch()
    except DivergedError as error:
        advice = f"lower evaluator.supernet.training.learning_rate, {recipe.learning_rate:g} now"
        raise UserError(f"the supernet's {error}; {advice}") from None


def _write_about(folder: Path, task: SupernetTask, losses: list[float], seconds: float, *, complete: bool) -> None:
    about = {
        "format": FORMAT,
        "version": VERSION,
        "identity": task.identity(),
        "complete": complete,
        "epochs": len(losses),
        "losses": losses,
        "seconds": round(seconds, 3),
    }
    write_json(folder / ABOUT, about)


def _read_about(folder: Path) -> dict[str, Any] | None:
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete the folder to train the supernet again") from None
    if not isinstance(about, dict) or (about.get("format"), about.get("version")) != (FORMAT, VERSION):
        raise UserError(f"{path}: not a supernet of version {VERSION}; delete the folder to train it again")
    return about


def _check_identity(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise UserError with the first difference."""
    wanted = json.loads(json.dumps(wanted))
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{folder}: a supernet of another search: its {name} is {found.get(name)}, this one's {wanted.get(name)}; "
                "leave evaluator.supernet.folder out to train one for this search"
            )


def _load(supernet: Supernet, path: Path) -> None:
    state = read_state(path)
    try:
        supernet.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: damaged ({reason}); delete its folder to train the supernet again") from None
