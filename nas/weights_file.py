"""State dicts in files: safetensors, and torch's own format, of which nothing but tensors is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas.errors import UserError

TORCH_SUFFIXES = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)

# what torch.load raises on files that are cut short, overwritten, something else, or hold more than weights
_DAMAGE = (UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)


def check_suffix(path: Path) -> None:
    """UserError unless `path` ends like a file of weights."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: weights are in files that end in {', '.join(SUFFIXES)}")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name.

    A checkpoint may hold them as ``state_dict`` or ``model``, and names may begin with ``module.``, as those of
    torch's parallel wrappers do.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    check_suffix(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    state = _read_torch(path) if path.suffix in TORCH_SUFFIXES else _read_safetensors(path)
    for holder in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(holder), dict):
            state = state[holder]
    if not isinstance(state, dict) or not state or not all(isinstance(x, Tensor) for x in state.values()):
        raise UserError(f"{path}: no state dict; write one with torch.save(model.state_dict(), {path.name!r})")
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in state.items()}


def write_state(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors by name, in the format that the suffix says.

    Raises:
        UserError: the file cannot be written.
    """
    check_suffix(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        if path.suffix in TORCH_SUFFIXES:
            torch.save(tensors, path)
        else:
            save_file(tensors, path, metadata={"format": "pt"})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be written: {_one_line(error)}") from None


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: no safetensors file: {_one_line(error)}") from None


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise UserError(f"{path}: cannot be read as weights alone: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
