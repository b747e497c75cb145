"""What a training has become, in one file of tensors: enough to go on as if nothing had happened."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.errors import UserError
from nas.training import Training

FORMAT = "nas-checkpoint"
VERSION = "1"


def write_checkpoint(path: Path, training: Training) -> None:
    """Put `training` in place of what `path` holds, whole or not at all, also where the power fails."""
    tensors: dict[str, Tensor] = {name: t.detach().cpu().contiguous() for name, t in training.tensors().items()}
    metadata = {"format": FORMAT, "version": VERSION, "epochs": str(training.num_epochs)}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def read_checkpoint(path: Path, training: Training) -> None:
    """Take `training` to where `path` was written.

    Raises:
        UserError: the file is damaged, of another version, or of another training.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it to begin the training again") from None
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise UserError(f"{path}: not a checkpoint of version {VERSION}; delete it to begin the training again")
    try:
        training.restore(tensors, int(metadata["epochs"]))
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: of another training ({reason}); delete it to begin this one again") from None
