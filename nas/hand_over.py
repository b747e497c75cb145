"""What goes to whoever deploys a network: ONNX in float32 and int8, what each is worth, and a card that says it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from latency.meter import GRADES
from latency.meter_process import MeasuringError
from nas.data import load_dataset
from nas.data_tensors import prepare
from nas.dataset import Dataset, Part
from nas.device_records import metered
from nas.errors import UserError
from nas.export import MODEL, input_metadata
from nas.exportable import Exportable, write_export
from nas.hand_over_card import CARD, card_text
from nas.image_set import ImageSet
from nas.int8_model import predicted_classes, quantised
from nas.latency_check import read_device
from nas.latency_section import LatencySection
from nas.model_figures import ModelFigures
from nas.network import resolve_network
from nas.opened_meter import opened_meter

INT8_MODEL = "model.int8.onnx"


def handed_over(
    found: Exportable,
    out: Path | None,
    convention: str,
    data: str | None,
    int8: bool,
    measures: bool,
    device: str | None = None,
) -> dict[str, Any]:
    """Export a network, and all that whoever deploys it asks for; what was written, as `write_export` and more.

    Args:
        found: what to write.
        out: folder to make.
        convention: names in the weights file.
        data: calibrates and tests; by default what the network was trained on.
        int8: whether to add an int8 model.
        measures: whether to measure the models.
        device: where; ``local`` by default, or a file, see `nas.latency_check.read_device`.

    Raises:
        UserError: as `write_export`, there are no data for an int8 model, they have other classes, or it cannot be measured.
    """
    if device is not None and not measures:
        raise UserError(f"--device {device}: says where to measure; add --measure")
    source = data or found.data
    if int8 and source is None:
        raise UserError("--int8: images must show what values occur in the network: give --data SPEC")
    devices = read_device(device) if device is not None else []
    dataset = load_dataset(source, image_size=found.resolution) if source is not None else None
    if dataset is not None:
        found = described(found, dataset)
    document = write_export(found, out, convention)
    folder, difference = Path(document["folder"]), document["onnx_max_relative_difference"]
    section = LatencySection(resolution=found.resolution, devices=devices) if measures else None
    try:
        figures = hand_over(found, folder, difference, dataset, int8, section)
    except BaseException:
        shutil.rmtree(folder)  # it was not there before, and half of it is worth nothing
        raise
    (folder / CARD).write_text(card_text(found, figures, difference))
    models = {name: value.to_dict() for name, value in figures.items()}
    added = [name for name in figures if name not in document["files"]]
    return document | {"files": [*document["files"], *added, CARD], "models": models}


def described(found: Exportable, dataset: Dataset) -> Exportable:
    """`found` with what must be known of its input and output, from the data where it does not say so itself.

    Raises:
        UserError: the data have other classes.
    """
    num_classes = found.module.graph.ops[-1].shape[0]
    if dataset.num_classes != num_classes:
        raise UserError(
            f"--data: {dataset.name} has {dataset.num_classes} classes, the network {num_classes}; give the data that it "
            "was trained on"
        )
    return replace(found, metadata=input_metadata(*dataset.statistics, dataset.class_names) | dict(found.metadata))


def hand_over(
    found: Exportable,
    folder: Path,
    difference: float,
    dataset: Dataset | None,
    int8: bool,
    section: LatencySection | None,
) -> dict[str, ModelFigures]:
    """Add to an exported network what is known of it: an int8 model beside ``model.onnx``, metadata in both.

    Args:
        found: what was exported, `described` where there are data.
        folder: to which.
        difference: between ONNX Runtime and torch, relative to the largest logit.
        dataset: calibrates and tests; None does neither.
        int8: whether an int8 model is wanted; it needs data.
        section: where latencies are measured; None measures none.

    Returns:
        File name -> what it is worth.

    Raises:
        UserError: the device cannot measure.
    """
    models = {MODEL: (folder / MODEL).read_bytes()}
    figures = {MODEL: ModelFigures()}
    if dataset is not None:
        if int8:
            models[INT8_MODEL] = quantised(models[MODEL], _images(found, dataset, "train"))
        figures = _tested(models, _images(found, dataset, "test"))
    if section is not None:
        figures = _timed(models, figures, section)
    for name, model in models.items():
        parity = {"parity": f"differs from torch by {difference:.2g} of the largest logit"} if name == MODEL else {}
        (folder / name).write_bytes(_with_metadata(model, parity | figures[name].metadata()))
    return figures


def _images(found: Exportable, dataset: Dataset, part: Part) -> ImageSet:
    """A split as the model takes it."""
    images = prepare(dataset, found.resolution, part)
    mean, std = (tuple(json.loads(found.metadata[key])) for key in ("mean", "std"))
    return ImageSet(images.images, images.labels, mean, std)


def _tested(models: Mapping[str, bytes], test: ImageSet) -> dict[str, ModelFigures]:
    classes = {name: predicted_classes(model, test) for name, model in models.items()}
    labels = test.labels.numpy()
    return {
        name: ModelFigures(
            num_right=int((own == labels).sum()),
            num_test=len(labels),
            agreement=None if name == MODEL else float((own == classes[MODEL]).mean()),
        )
        for name, own in classes.items()
    }


def _timed(
    models: Mapping[str, bytes], figures: Mapping[str, ModelFigures], section: LatencySection
) -> dict[str, ModelFigures]:
    try:
        with opened_meter(section) as meter:
            source = metered(meter, resolve_network(section.reference), section.num_outputs)
            latencies = {name: source.measure_model(model, GRADES["final"])[0] for name, model in models.items()}
            device = f"{meter.device.cpu}, {meter.device.num_threads} thread, ONNX Runtime {meter.device.onnxruntime}"
    except MeasuringError as error:
        raise UserError(f"measuring failed: {error}; --no-measure exports without a latency") from None
    for name, latency in latencies.items():
        if latency.status == "failed":
            raise UserError(
                f"{name} cannot be run on the device: {latency.reason}; --no-measure exports it all the same"
            )
    return {name: replace(figures[name], latency=latencies[name], device=device) for name in models}


def _with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    document = onnx.load_from_string(model)
    known = {entry.key: entry.value for entry in document.metadata_props}
    onnx.helper.set_model_props(document, known | dict(metadata))
    serialised: bytes = document.SerializeToString()
    return serialised
