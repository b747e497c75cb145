"""A CSV of architectures and what was measured of them: columns in, positions of options and numbers out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError
from search_spaces.choice import Choice, Option

if TYPE_CHECKING:
    import pandas as pd

Positions = NDArray[np.int64]
"""Of options in their choices, shape (candidates, choices): what a controller's decisions are as numbers."""


def positions_of(choices: Sequence[Choice], taken: Mapping[str, Option]) -> tuple[int, ...]:
    """Position of each option of one candidate, in the order of `choices`."""
    return tuple(choice.index(taken[choice.name]) for choice in choices)


def read_frame(path: Path) -> pd.DataFrame:
    """The cells of a CSV file as text; .gz, .bz2, .xz and .zip are unpacked.

    Raises:
        UserError: there is no such file, or it is no CSV with a header.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        raise UserError(f"table {str(path)!r}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"table {str(path)!r}: not a CSV file: {' '.join(str(error).split())}") from None
    if frame.empty:
        raise UserError(f"table {str(path)!r}: has no rows")
    return frame


@dataclass(frozen=True)
class ArchTable:
    """Architectures of a space, a row each.

    Attributes:
        source: the file, for messages.
        choices: the decisions of the space.
        positions: of the options, a row an architecture, in the order of the file; rows may be equal.
        frame: all cells of the file, as text.
    """

    source: str
    choices: tuple[Choice, ...]
    positions: Positions
    frame: pd.DataFrame

    @classmethod
    def of_columns(
        cls,
        path: Path,
        choices: Sequence[Choice],
        columns: Mapping[str, str],
        values: Mapping[str, Mapping[Option, Option]],
    ) -> ArchTable:
        """A table with a column for each decision.

        Args:
            path: the file.
            choices: the decisions of the space.
            columns: name of a column -> name of a choice; each choice once.
            values: name of a column -> what stands there -> the option; columns that are not named hold options.

        Raises:
            UserError: the mapping does not fit the space, columns are missing, or a cell is no option.
        """
        _check_mapping(choices, columns, values)
        frame = read_frame(path)
        _check_columns(path, frame, columns)
        column_of = {choice: column for column, choice in columns.items()}
        positions = [
            _column_positions(path, frame, column_of[choice.name], choice, values.get(column_of[choice.name]))
            for choice in choices
        ]
        return cls(str(path), tuple(choices), np.stack(positions, axis=1), frame)

    @classmethod
    def of_digits(cls, path: Path, choices: Sequence[Choice], column: str) -> ArchTable:
        """A table with one column of strings, a character of which is the option of one decision.

        Raises:
            UserError: there is no such column, or a cell has another length or a character that is no option.
        """
        frame = read_frame(path)
        _check_columns(path, frame, [column])
        cells = frame[column].str.strip()
        if (wrong := cells.str.len() != len(choices)).any():
            row = int(wrong.to_numpy().argmax())
            raise UserError(
                f"table {str(path)!r}: row {row + 1}: {column} = {cells[row]!r}: must have {len(choices)} characters"
            )
        # Characters one by one under a column's name, so that messages name the row
        parts = frame.assign(**{column: cells})
        positions = [
            _column_positions(path, parts.assign(**{column: cells.str[place]}), column, choice, None)
            for place, choice in enumerate(choices)
        ]
        return cls(str(path), tuple(choices), np.stack(positions, axis=1), frame)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as numbers, shape (rows,); NaN where nothing stands.

        Raises:
            UserError: there is no such column, or a cell is no number.
        """
        _check_columns(self.source, self.frame, [column])
        return np.array([self._number(row, column, cell) for row, cell in enumerate(self.frame[column])])

    def _number(self, row: int, column: str, cell: str) -> float:
        if cell.strip().lower() in ("", "nan", "na", "null", "none"):
            return math.nan
        try:
            number = float(cell)
        except ValueError:
            number = math.inf
        if math.isinf(number):
            raise UserError(f"table {self.source!r}: row {row + 1}: {column} = {cell!r}: must be a number, or empty")
        return number

    def target(self, column: str, scale: float = 1.0) -> tuple[Positions, NDArray[np.float64]]:
        """Each architecture once, with its number: rows without one are left out, the mean of equal ones is taken.

        Args:
            column: of the numbers.
            scale: multiplies them.

        Returns:
            Positions, sorted, shape (architectures, choices), and numbers, shape (architectures,).

        Raises:
            UserError: there is no such column, a cell is no number, or none has one.
        """
        numbers = self.numbers(column) * scale
        known = ~np.isnan(numbers)
        if not known.any():
            raise UserError(f"table {self.source!r}: column {column} is empty")
        unique, place = np.unique(self.positions[known], axis=0, return_inverse=True)
        place = place.reshape(-1)
        return unique, np.bincount(place, weights=numbers[known]) / np.bincount(place)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_mapping(
    choices: Sequence[Choice], columns: Mapping[str, str], values: Mapping[str, Mapping[Option, Option]]
) -> None:
    names = [choice.name for choice in choices]
    mapped = list(columns.values())
    if unknown := sorted(set(mapped) - set(names)):
        raise UserError(f"columns: the space has no decision {unknown[0]!r}; it has: {', '.join(names)}")
    if missing := [name for name in names if name not in mapped]:
        raise UserError(f"columns: no column of the table is said to hold {', '.join(missing)}")
    if twice := sorted({name for name in mapped if mapped.count(name) > 1}):
        raise UserError(f"columns: two columns hold {twice[0]!r}; each decision has one")
    if unknown := sorted(set(values) - set(columns)):
        raise UserError(f"values: {unknown[0]!r} is not among columns: {', '.join(columns)}")


def _check_columns(source: Path | str, frame: pd.DataFrame, columns: Mapping[str, str] | Sequence[str]) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise UserError(
            f"table {str(source)!r}: has no columns {', '.join(missing)}; it has: {', '.join(map(str, frame.columns))}"
        )


def _column_positions(
    path: Path, frame: pd.DataFrame, column: str, choice: Choice, values: Mapping[Option, Option] | None
) -> NDArray[np.int64]:
    """Positions of the options that stand in a column; equal numbers are equal however they are written."""
    stands_for = values if values is not None else {option: option for option in choice.options}
    try:
        position_of = {_canonical(cell): choice.index(option) for cell, option in stands_for.items()}
    except ValueError as error:
        raise UserError(f"values.{column}: {error}") from None
    found = [position_of.get(_canonical(cell), -1) for cell in frame[column]]
    if -1 in found:
        row = found.index(-1)
        raise UserError(
            f"table {str(path)!r}: row {row + 1}: {column} = {frame[column].iloc[row]!r}: not in the space; allowed for "
            f"{choice.name}: {', '.join(map(str, stands_for))}"
        )
    return np.array(found, dtype=np.int64)


def _canonical(cell: Option) -> float | str:
    text = str(cell).strip()
    try:
        return float(text)
    except ValueError:
        return text
