"""Any run, from its folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from nas.errors import UserError
from nas.netadapt.adapt_frames import AdaptFrames
from nas.netadapt.adapt_record import is_adaptation
from nas.reproduction.reproduce_config import is_reproduction
from nas.reproduction.reproduce_frames import ReproduceFrames
from nas.search_frames import SearchFrames


def load_run(folder: str | PathLike[str]) -> SearchFrames | AdaptFrames | ReproduceFrames:
    """A search, an adaptation or a reproduction, finished or not, read from its files alone; changes nothing there.

    Args:
        folder: what ``nas search``, ``nas adapt`` or ``nas reproduce`` wrote.

    Raises:
        UserError: no such folder, no run, one that was stopped before it had anything to show, or files that are damaged
            or of another version.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(
            f"{path}: no such folder; give the run folder that nas search, nas adapt or nas reproduce wrote"
        )
    if is_reproduction(path):
        return ReproduceFrames.read(path)
    return AdaptFrames.read(path) if is_adaptation(path) else SearchFrames.read(path)
