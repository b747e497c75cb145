"""What `nas export` can write: the trained network of a run, or any network with weights."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.errors import UserError
from nas.export import ARCH, MODEL, WEIGHTS, export
from nas.netadapt.origin import origin
from nas.network import network_name, resolve
from nas.train_config import misfit
from nas.trained import find_trained, model_card
from nas.weights import Loaded, load_weights
from search_spaces.arch import ArchSpec
from search_spaces.lower import lower
from search_spaces.torch_module import GraphModule, build_module

EXPORTS = Path("exports")
DEFAULT_CLASSES = 1000
_NUM_COMPARED = 4  # images of noise on which ONNX Runtime is compared with torch


@dataclass(frozen=True, slots=True, eq=False)
class Exportable:
    """A network with weights.

    Attributes:
        name: what to call it.
        arch: with the epsilon that the weights were trained with.
        module: with the weights, auxiliary heads included where they are known.
        resolution: side of the input in pixels.
        metadata: what is known of input and output.
        origin: where the weights come from, for people.
        data: what they were trained on, where that is known.
    """

    name: str
    arch: ArchSpec
    module: GraphModule
    resolution: int
    metadata: Mapping[str, str]
    origin: str
    data: str | None = None


def exportable(
    text: str, weights: Path | None, num_classes: int | None, resolution: int | None, random_weights: bool
) -> Exportable:
    """What `text` names, a folder with a trained network, or a network of which `weights` are.

    Args:
        text: folder or ARCH.
        weights: of an ARCH.
        num_classes: what the weights must have; without any, how many outputs to make.
        resolution: side of the input; that of training, or the network's own, if not given.
        random_weights: whether seeded weights will do.

    Raises:
        UserError: there is no such network, there are no weights, or they do not fit.
    """
    if os.path.isdir(os.path.expanduser(text)):
        if weights is not None or random_weights:
            raise UserError(f"{text}: has weights of its own; leave out --weights and --random-weights")
        return _of_folder(Path(text), num_classes, resolution)
    if (weights is None) != random_weights:
        raise UserError(
            f"{text}: no weights to export; give --weights FILE, train some with nas train {text}, or ask for "
            "--random-weights"
            if weights is None
            else "--weights and --random-weights: only one of them"
        )
    network = resolve(text)
    resolution = resolution or network.resolution
    if weights is None:
        _check_fits(network.arch, resolution)
        module = build_module(lower(network.arch, resolution, num_classes or DEFAULT_CLASSES), seed=0)
        return Exportable(network.name, network.arch, module, resolution, {}, "random (seed 0)")
    loaded = load_weights(weights, network.arch, resolution=resolution)
    return _of_weights(network.name, loaded, num_classes, resolution, {}, weights)


def _of_folder(folder: Path, num_classes: int | None, resolution: int | None) -> Exportable:
    trained = find_trained(folder)
    if trained.model is None:
        raise UserError(f"{trained.weights.parent}: no {MODEL} says at which resolution it was trained; export ARCH")
    card = model_card(trained.model)
    loaded = load_weights(trained.weights, trained.arch, resolution=card.resolution)
    metadata = {key: value for key, value in card.metadata.items() if key != "arch"}
    name = network_name(trained.arch)
    found = _of_weights(name, loaded, num_classes, resolution or card.resolution, metadata, trained.weights)
    return replace(found, data=origin(None, folder, None).source) if (folder / "config.yaml").is_file() else found


def _of_weights(
    name: str,
    loaded: Loaded,
    num_classes: int | None,
    resolution: int,
    metadata: Mapping[str, str],
    weights: Path,
) -> Exportable:
    if num_classes not in (None, loaded.num_classes):
        raise UserError(f"--num-classes {num_classes}: {weights} has weights for {loaded.num_classes}")
    _check_fits(loaded.arch, resolution)
    # auxiliary heads that the file has for another resolution than this one are left behind
    module = build_module(lower(loaded.arch, resolution, loaded.num_classes, training=True), seed=0)
    if any(kept.startswith("aux") for kept in loaded.put_into(module)):
        module = build_module(lower(loaded.arch, resolution, loaded.num_classes), seed=0)
        loaded.put_into(module)
    origin = f"{weights}, names of {loaded.convention}"
    return Exportable(name, loaded.arch, module, resolution, metadata, origin)


def _check_fits(arch: ArchSpec, resolution: int) -> None:
    problem = misfit(arch, resolution)
    if problem:
        raise UserError(f"--resolution {resolution}: {problem}")


def write_export(found: Exportable, out: Path | None, convention: str) -> dict[str, Any]:
    """Write the files, and say what was written.

    Args:
        found: what to write.
        out: folder to make; ``exports/NAME`` if not given.
        convention: names in the weights file; see `nas.weights.save_weights`.

    Raises:
        UserError: the folder exists, or the convention has no names for this network.
    """
    folder = out or EXPORTS / re.sub(r"[^\w.@-]+", "-", found.name)[:60]
    if folder.exists():
        raise UserError(f"{folder} exists; choose another folder with --out")
    size = (_NUM_COMPARED, 3, found.resolution, found.resolution)
    sample = torch.randn(size, generator=torch.Generator().manual_seed(0))
    difference = export(found.arch, found.module, sample, found.metadata, folder, convention)
    return {
        "network": found.name,
        "arch": str(found.arch),
        "folder": str(folder),
        "files": [ARCH, MODEL, WEIGHTS],
        "weights": found.origin,
        "convention": convention,
        "resolution": found.resolution,
        "num_classes": found.module.graph.ops[-1].shape[0],
        "onnx_max_relative_difference": difference,
    }
