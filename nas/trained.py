"""Networks that have been trained: a run folder, an exported folder, or a weights file with its ``arch.json`` beside."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from nas.errors import UserError
from nas.export import ARCH, MODEL, WEIGHTS
from nas.network import resolve_network
from search_spaces.arch import ArchSpec

FORM = "a run folder, an exported folder, or a weights file with its arch.json beside"


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network on disk.

    Attributes:
        arch: what was trained.
        weights: file of its weights.
        model: its ONNX file, which knows resolution and normalisation; None where there is none.
    """

    arch: ArchSpec
    weights: Path
    model: Path | None


def find_trained(path: Path) -> Trained:
    """The network that `path` holds, `FORM`.

    Raises:
        UserError: it holds none, or its run is not finished.
    """
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return _beside(path, path.parent)
    if (path / WEIGHTS).is_file():
        return _beside(path / WEIGHTS, path)
    best = path / "best"
    if (best / WEIGHTS).is_file():
        return _beside(best / WEIGHTS, best)
    if (path / "config.yaml").is_file():
        raise UserError(
            f"{path}: this run has no trained network yet (no best/{WEIGHTS}); finish it with --resume {path}"
        )
    raise UserError(f"{path}: not {FORM}")


def _beside(weights: Path, folder: Path) -> Trained:
    if not (folder / ARCH).is_file():
        raise UserError(f"{weights}: no {ARCH} beside it says of which network; nas export writes both")
    model = folder / MODEL
    return Trained(resolve_network(str(folder / ARCH)), weights, model if model.is_file() else None)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What an exported model says of itself.

    Attributes:
        resolution: side of its input in pixels.
        metadata: as `nas.export.export` was given it.
    """

    resolution: int
    metadata: Mapping[str, str]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """One for each logit; None where the model does not name them."""
        return tuple(json.loads(self.metadata["classes"])) if "classes" in self.metadata else None


def model_card(path: Path) -> ModelCard:
    """Of an exported ONNX file.

    Raises:
        UserError: it is not one.
    """
    try:
        model = onnx.load(path)
        resolution = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    except (OSError, DecodeError, IndexError) as error:
        raise UserError(f"{path}: not an exported model ({type(error).__name__}); export it again") from None
    return ModelCard(resolution, {entry.key: entry.value for entry in model.metadata_props})
