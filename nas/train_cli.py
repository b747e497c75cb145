"""`nas train` and `nas export`: trained networks, and files of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nas.errors import UserError
from nas.latency_cli import Device, Json, print_json

if TYPE_CHECKING:
    from nas.ray_train import RayWorkers
    from nas.teacher import Teaching
    from nas.train_data import TrainingData
    from nas.train_run import TrainRun

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class RecipeName(StrEnum):
    """See `nas.training_recipe`."""

    SHORT = "short"
    PUBLISHED = "published"


class OptimizerName(StrEnum):
    """See `nas.optimizer`."""

    SGD = "sgd"
    RMSPROP = "rmsprop"


class ScheduleName(StrEnum):
    """See `nas.training_recipe.TrainingRecipe`."""

    COSINE = "cosine"
    EXPONENTIAL = "exponential"


class Convention(StrEnum):
    """See `nas.weights`."""

    NAS = "nas"
    TORCHVISION = "torchvision"
    TIMM = "timm"


def train_command(
    context: typer.Context,
    network: Annotated[
        str | None,
        typer.Argument(help=r"NAME\[@WIDTH]\[/RESOLUTION] of the zoo, architecture string, JSON file.", metavar="NAME"),
    ] = None,
    data: Annotated[
        str, typer.Option(help="digits, FILE.npz, or FOLDER with train/CLASS/* and val/CLASS/*.", metavar="SPEC")
    ] = "digits",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Run folder to make; default runs/NAME-N.", metavar="RUN")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run.", metavar="RUN")] = None,
    recipe: Annotated[
        RecipeName, typer.Option(help="short: ours, for few epochs; published: the authors'. Options override it.")
    ] = RecipeName.SHORT,
    optimizer: Annotated[OptimizerName | None, typer.Option(help="SGD with momentum, or TensorFlow's RMSProp.")] = None,
    schedule: Annotated[ScheduleName | None, typer.Option(help="Decay of the learning rate.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak, for the batch size.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; default 64.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="On weights, never on BN or biases.")] = None,
    warmup_epochs: Annotated[float | None, typer.Option(help="Of linear warm-up.")] = None,
    decay_factor: Annotated[float | None, typer.Option(help="exponential: the rate falls by it ...")] = None,
    decay_epochs: Annotated[float | None, typer.Option(help="... every so many epochs.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="In [0, 1); default: the network's own.")] = None,
    ema_decay: Annotated[float | None, typer.Option(help="Average of the weights; 0: none.")] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror images at random; not digits.")] = None,
    max_shift: Annotated[int | None, typer.Option(help="Move images at random, so many pixels.")] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, help="Side of the images in pixels; default: the network's or the data's.")
    ] = None,
    holdout: Annotated[
        float, typer.Option(min=0, max=0.9, help="Part of the training split that shows progress; 0: none.")
    ] = 0.1,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream", help="Read a folder's images batch by batch; default: if memory is short."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    squeeze: Annotated[
        float | None, typer.Option("--se", help="Squeeze-and-excitation of this ratio.", metavar="R")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from these; our names, torchvision's or timm's.", metavar="FILE")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Distil from a trained network (run folder, weights file), or one to train first.",
            metavar="NAME|FILE",
        ),
    ] = None,
    distill_weight: Annotated[float, typer.Option(min=0.001, max=1, help="Of the teacher's answers.")] = 0.5,
    temperature: Annotated[float, typer.Option(min=0.01, help="Softens the teacher's answers.")] = 4.0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that divide each batch (Ray Train); default 1, or the run's.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster (or 'auto') whose machines are the workers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a network on images, test it once, export it.

    [bold]nas train mobilenet_v3_large@0.5 --data photos/ --epochs 30 --flip[/bold]

    [bold]nas train mobilenet_v3_small --teacher resnet50[/bold]  trains the teacher first.
    """
    from nas.network import resolve, squeezed
    from nas.train import begin
    from nas.train_config import TrainRequest, asked_resolution, zoo_name
    from nas.train_data import data_of

    console = Console(stderr=as_json)
    if resume is not None:
        check_alone(context)
        _carry_on(resume, data_of(resume, console), console, as_json, workers, ray_address)
        return
    if network is None:
        raise UserError("which network? name one (nas zoo list shows them), or continue a run with --resume RUN")
    options = {
        "optimizer": optimizer and optimizer.value,
        "schedule": schedule and schedule.value,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "weight_decay": weight_decay,
        "warmup_epochs": warmup_epochs,
        "decay_factor": decay_factor,
        "decay_epochs": decay_epochs,
        "label_smoothing": label_smoothing,
        "ema_decay": ema_decay,
        "flip": flip,
        "max_shift": max_shift,
    }
    named = resolve(network)
    request = TrainRequest(
        network=squeezed(named, squeeze),
        training_of=zoo_name(named),
        resolution=resolution or asked_resolution(network),
        recipe=recipe.value,
        epochs=epochs,
        overrides={key: value for key, value in options.items() if value is not None},
        holdout=holdout,
        stream=stream,
        seed=seed,
        workers=workers or 1,
    )
    _check_address(request.workers, ray_address)
    teaching = _teaching(teacher, distill_weight, temperature)
    folder, dataset = begin(request, data, out=out, weights=weights, teaching=teaching, console=console)
    _carry_on(folder, dataset, console, as_json, workers, ray_address)


_BESIDE_RESUME = ("resume", "workers", "ray_address", "as_json")


def check_alone(context: typer.Context) -> None:
    """Raise UserError for options beside --resume."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE" and parameter.name not in _BESIDE_RESUME:
            given.append(parameter.opts[0] if parameter.opts[0].startswith("-") else "NAME")
    if given:
        raise UserError(f"--resume continues a run as it began; leave out {', '.join(given)}")


def _teaching(teacher: str | None, weight: float, temperature: float) -> Teaching | None:
    from nas.teacher import Teaching

    return Teaching(source=teacher, weight=weight, temperature=temperature) if teacher else None


def _check_address(num_workers: int, ray_address: str | None) -> None:
    if ray_address is None:
        return
    if num_workers == 1:
        raise UserError(f"--ray-address {ray_address}: one worker needs no Ray; add --workers N, or leave it out")
    from nas.ray_cluster import check_address

    check_address(ray_address)


def _workers(
    run: TrainRun, asked: int | None, ray_address: str | None, console: Console
) -> AbstractContextManager[RayWorkers | None]:
    """Those that train `run`; None where this process does, or nothing is left to train."""
    num_workers = asked or run.config.scaling.workers
    _check_address(num_workers, ray_address)
    if num_workers == 1 or run.final is not None:
        return nullcontext()
    from nas.ray_train import ray_workers

    return ray_workers(run.folder, num_workers, ray_address, console)


def _carry_on(
    folder: Path, dataset: TrainingData, console: Console, as_json: bool, workers: int | None, ray_address: str | None
) -> None:
    from nas.train import carry_on
    from nas.train_run import TrainRun

    try:
        with TrainRun(folder) as run:
            _describe(run, dataset, console)
            with _workers(run, workers, ray_address, console) as others:
                final = carry_on(run, dataset, console, others)
    except KeyboardInterrupt:
        console.print(f"interrupted; continue with: nas train --resume {folder}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(final)
        return
    if final["teacher_accuracy"] is not None:
        _say(console, "teacher", f"{final['teacher']}: {final['teacher_accuracy']:.1%} of the same images right")
    low, high = final["accuracy_interval"]
    figures = f"{final['accuracy']:.1%} of {final['num_test']:,} images right (95 % interval {low:.1%} to {high:.1%})"
    _say(console, "test", f"{figures}, after {final['training_s']:.0f} s of training")
    difference = f"ONNX Runtime differs by {final['onnx_max_relative_difference']:.1g} of the largest logit"
    _say(console, "exported", f"{folder}/best: arch.json, model.onnx, weights.safetensors; {difference}")


def _describe(run: TrainRun, dataset: TrainingData, console: Console) -> None:
    config, recipe = run.config, run.config.recipe
    side = config.data.resolution
    _say(console, "network", f"{config.network.name}, {side} px, {dataset.num_classes} classes")
    _say(console, "data", f"{dataset.name}: {len(dataset.y_train):,} training and {len(dataset.y_test):,} test images")
    rate = f"learning rate {recipe.learning_rate:g} at batch size {recipe.batch_size}, {recipe.schedule} decay"
    _say(console, "recipe", f"{recipe.epochs} epochs of {recipe.optimizer}, {rate}")
    if config.teacher:
        how = f"weight {config.teacher.weight:g}, temperature {config.teacher.temperature:g}"
        _say(console, "teacher", f"{config.teacher.source}, {how}")
    _say(console, "run", str(run.folder))


def _say(console: Console, what: str, text: str) -> None:
    console.print(f"{what:<10}{text}", markup=False, highlight=False, soft_wrap=True)


def export_command(
    source: Annotated[
        str, typer.Argument(help="A run folder, or a network: zoo name, string, JSON file.", metavar="ARCH|RUN")
    ],
    weights: Annotated[
        Path | None, typer.Option(help="Of the network; our names, torchvision's or timm's.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make; default exports/NAME.", metavar="DIR")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Default: those of the weights, else 1000.")] = None,
    resolution: Annotated[int | None, typer.Option(min=8, help="Side of the input; default: as trained.")] = None,
    to: Annotated[Convention, typer.Option(help="Names in the weights file.")] = Convention.NAS,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Without training, for latency alone.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also an int8 model, both tested and measured, and a card that says it.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Calibrates and tests: digits, FILE.npz or FOLDER; default: the run's.", metavar="SPEC"),
    ] = None,
    measure: Annotated[
        bool | None, typer.Option("--measure/--no-measure", help="Latency of the models; default with --int8.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Write a network as arch.json, model.onnx and weights.safetensors, the ONNX file checked against torch.

    [bold]nas export RUN --int8 --out DIR[/bold]  hands it over: float32 and int8, their accuracy and latency, a card.
    """
    from nas.exportable import exportable, write_export

    found = exportable(source, weights, num_classes, resolution, random_weights)
    measures = int8 if measure is None else measure
    if int8 or data or measures or device:
        from nas.hand_over import handed_over

        document = handed_over(found, out, to.value, data, int8, measures, device)
    else:
        document = write_export(found, out, to.value)
    if as_json:
        print_json(document)
        return
    console = Console()
    _say(console, "network", f"{document['network']}, {document['resolution']} px, {document['num_classes']} classes")
    _say(console, "weights", found.origin)
    difference = f"ONNX Runtime differs by {document['onnx_max_relative_difference']:.1g} of the largest logit"
    _say(console, "exported", f"{document['folder']}: {', '.join(document['files'])}; {difference}")
    for name, figures in document.get("models", {}).items():
        _say(console, name, _worth(figures))


def _worth(figures: dict[str, Any]) -> str:
    """Of an exported model, in words."""
    parts = []
    if figures["test_accuracy"] is not None:
        parts.append(f"{figures['test_accuracy']:.1%} of {figures['num_test']} test images")
    if figures["agreement"] is not None:
        parts.append(f"agrees with float32 in {figures['agreement']:.1%}")
    if figures["latency"] is not None:
        low, high = figures["latency"]["interval_ms"]
        parts.append(
            f"{figures['latency']['latency_ms']:.3f} ms ({low:.3f} to {high:.3f}), {figures['latency']['status']}"
        )
    return ", ".join(parts) or "not tested, not measured"
