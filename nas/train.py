"""`nas train`: from a network and a data set to a trained, tested and exported network. Puts the parts together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console

from nas.accuracy import wilson_interval
from nas.data_tensors import image_source
from nas.evaluator import best_device
from nas.export import export, input_metadata
from nas.image_set import normalised
from nas.latency_check import absolute
from nas.run_folder import check_free, next_folder, write_json
from nas.run_training import num_training, take_up, train_epochs
from nas.share import check_shares
from nas.teacher import Teaching, keep_teacher, teacher_config, trained_teacher
from nas.train_config import TrainRequest, resolve_config
from nas.train_data import TrainingData, check_holdout, load_for
from nas.train_progress import TrainProgress
from nas.train_run import TEACHER, TrainRun, create_run
from nas.training import num_correct
from nas.weights import load_weights
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.torch_module import GraphModule, build_module

FINAL_FORMAT = "nas-train-final"
FINAL_VERSION = 1
NUM_COMPARED = 32  # images on which ONNX Runtime is compared with torch


def begin(
    request: TrainRequest,
    source: str,
    *,
    out: Path | None = None,
    weights: Path | None = None,
    teaching: Teaching | None = None,
    console: Console,
) -> tuple[Path, TrainingData]:
    """Check what is asked for and make its run folder.

    Args:
        request: what to train, and how.
        source: of the data.
        out: the folder; ``runs/NAME-N`` if not given.
        weights: to start from; a classifier of other classes begins afresh.
        teaching: the teacher, if there is one.
        console: says what begins afresh.

    Returns:
        The folder, and the data.

    Raises:
        UserError: something does not work; nothing has been made then.
    """
    folder = out or next_folder(re.sub(r"[^\w.@-]+", "-", request.network.name)[:40])
    check_free(folder, "nas train")
    dataset, resolution = load_for(request, source, console)
    where = source if source == "digits" else str(absolute(source))
    initial, request = (None, request) if weights is None else _initial(weights, request, dataset, resolution, console)
    given = absolute(str(weights)) if weights else None
    config = resolve_config(request, where, resolution, given, teaching.section if teaching else None)
    check_holdout(config, dataset)
    check_shares(config.scaling.workers, config.recipe.batch_size, num_training(config, dataset))
    device = best_device()
    if teaching and teaching.is_trained:
        keep_teacher(folder / TEACHER, trained_teacher(teaching, dataset, resolution, console))
    elif teaching:
        create_run(folder / TEACHER, teacher_config(teaching, request, config), dataset.fingerprint, device)
    create_run(folder, config, dataset.fingerprint, device, initial.state_dict() if initial else None)
    return folder, dataset


def _initial(
    weights: Path, request: TrainRequest, dataset: TrainingData, resolution: int, console: Console
) -> tuple[GraphModule, TrainRequest]:
    """A module that holds the weights, and the request with the epsilon that they were trained with."""
    loaded = load_weights(weights, request.network.arch, resolution=resolution)
    arch = replace(request.network.arch, norm=loaded.arch.norm)
    module = build_module(lower(arch, resolution, dataset.num_classes, training=True), request.seed)
    afresh = loaded.put_into(module)
    note = f"; afresh: {', '.join(afresh)}" if afresh else ""
    console.print(f"weights   {weights}, names of {loaded.convention}{note}", highlight=False, soft_wrap=True)
    return module, replace(request, network=replace(request.network, arch=arch))


class Workers(Protocol):
    """Processes that train together."""

    @property
    def num_workers(self) -> int:
        """How many, at least 2."""
        ...

    def train(self, folder: Path, dataset: TrainingData) -> None:
        """All epochs of the run in `folder` that are left.

        Raises:
            UserError: as `train_epochs`, or one of them has come to its end.
        """
        ...


def carry_on(run: TrainRun, dataset: TrainingData, console: Console, workers: Workers | None = None) -> dict[str, Any]:
    """Carry a training to its end, from wherever it is.

    Args:
        run: new, or one that was interrupted.
        dataset: what its configuration names.
        console: shows progress.
        workers: that train, the teacher first if it has to be; this process if not given. The same run may be carried on
            by any number of them.

    Returns:
        What ``final.json`` says.

    Raises:
        UserError: the data have changed, the checkpoint is damaged, the training diverged, or a worker is gone.
    """
    if run.final is not None:
        return run.final
    run.check_data(dataset.fingerprint)
    _train_teacher(run, dataset, console, workers)
    if workers:
        check_shares(workers.num_workers, run.config.recipe.batch_size, num_training(run.config, dataset))
        with run.handed_over():
            workers.train(run.folder, dataset)
    taken = take_up(run, dataset, best_device())
    if not taken.is_done:
        config, training = run.config, taken.training
        name, epochs = config.network.name, config.recipe.epochs
        with TrainProgress(console, name, epochs, training.steps_per_epoch, training.num_epochs) as progress:
            train_epochs(run, taken, progress)
    return _finish(run, taken.module, dataset)


def _train_teacher(run: TrainRun, dataset: TrainingData, console: Console, workers: Workers | None) -> None:
    """Where it is a run of its own."""
    folder = run.folder / TEACHER
    if (folder / "config.yaml").is_file():
        with TrainRun(folder) as teacher_run:
            carry_on(teacher_run, dataset, console, workers)


def _finish(run: TrainRun, module: GraphModule, dataset: TrainingData) -> dict[str, Any]:
    """Test, export, and ``final.json``, which is written last."""
    config = run.config
    test = image_source(dataset, config.data.resolution, "test")
    correct = num_correct(module, test.to(best_device()))
    metadata = input_metadata(test.mean, test.std, dataset.class_names)
    sample, _ = next(test.batches(torch.arange(min(NUM_COMPARED, len(test))), NUM_COMPARED))
    inputs = normalised(sample, test.mean, test.std)
    difference = export(config.arch, module.cpu(), inputs, metadata, run.folder / "best")
    counts = count(lower(config.arch, config.data.resolution, dataset.num_classes))
    final = {
        "format": FINAL_FORMAT,
        "version": FINAL_VERSION,
        "run": str(run.folder),
        "network": config.network.name,
        "arch": config.network.arch,
        "resolution": config.data.resolution,
        "num_classes": dataset.num_classes,
        "params": counts.params,
        "macs": counts.macs,
        "epochs": config.recipe.epochs,
        "training_s": round(run.training_s, 3),
        "teacher": config.teacher.source if config.teacher else None,
        "teacher_accuracy": run.teacher_accuracy,
        "num_test": len(test),
        "num_correct": correct,
        "accuracy": correct / len(test),
        "accuracy_interval": wilson_interval(correct, len(test)),
        "onnx_max_relative_difference": difference,
    }
    write_json(run.folder / "final.json", final)
    return final
