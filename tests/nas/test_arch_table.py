"""Tables of architectures."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nas.arch_table import ArchTable, positions_of
from nas.errors import UserError
from search_spaces.choice import Choice

CHOICES = (Choice("b1.kernel", (3, 5)), Choice("b1.se", (0.0, 0.25)), Choice("b1.skip", ("identity", "none")))
COLUMNS = {"k": "b1.kernel", "se": "b1.se", "skip": "b1.skip"}
VALUES = {"se": {0: 0.0, 1: 0.25}}
TEXT = """id,k,se,skip,top1,ms
0,3,0,identity,50,1
1,5,1,none,60,
2,3.0,0,identity,54,3
3,5,1,none,,
4,5,0, none,70,nan
"""


def table(folder: Path, text: str = TEXT, columns=COLUMNS, values=VALUES) -> ArchTable:
    path = folder / "t.csv"
    path.write_text(text)
    return ArchTable.of_columns(path, CHOICES, columns, values)


def refused(folder: Path, **arguments) -> str:
    with pytest.raises(UserError) as error:
        table(folder, **arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_cells_are_options(tmp_path):
    assert table(tmp_path).positions.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 1]]
    assert positions_of(CHOICES, {"b1.skip": "none", "b1.kernel": 5, "b1.se": 0.0}) == (1, 0, 1)


def test_equal_architectures_are_averaged_and_missing_numbers_left_out(tmp_path):
    positions, numbers = table(tmp_path).target("top1", 0.01)
    assert positions.tolist() == [[0, 0, 0], [1, 0, 1], [1, 1, 1]]
    np.testing.assert_allclose(numbers, [0.52, 0.70, 0.60])
    positions, numbers = table(tmp_path).target("ms")
    assert positions.tolist() == [[0, 0, 0]]
    assert numbers.tolist() == [2.0]


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    packed = ArchTable.of_columns(path, CHOICES, COLUMNS, VALUES)
    assert np.array_equal(packed.positions, table(tmp_path).positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": TEXT.replace("k,se", "kernel,s")}, "has no columns k, se; it has: id, kernel, s, skip, top1, ms"),
        ({"text": TEXT + "5,7,0,none,1,1\n"}, "row 6: k = '7': not in the space; allowed for b1.kernel: 3, 5"),
        ({"text": TEXT + "5,3,2,none,1,1\n"}, "row 6: se = '2': not in the space; allowed for b1.se: 0, 1"),
        ({"text": TEXT + "5,,0,none,1,1\n"}, "row 6: k = '': not in the space"),
        ({"text": "k,se,skip,top1\n"}, "has no rows"),
        ({"text": 'k,se\n"3,0\n'}, "not a CSV file"),
        ({"columns": {"k": "b1.kernel", "se": "b1.se"}}, "no column of the table is said to hold b1.skip"),
        ({"columns": COLUMNS | {"x": "b2.kernel"}}, "the space has no decision 'b2.kernel'; it has: b1.kernel, b1.se"),
        ({"columns": COLUMNS | {"x": "b1.kernel"}}, "two columns hold 'b1.kernel'"),
        ({"values": {"sx": {0: 0.0}}}, "values: 'sx' is not among columns: k, se, skip"),
        ({"values": {"se": {0: 0.0, 1: 0.5}}}, "values.se: b1.se=0.5 is not allowed; options: [0.0, 0.25]"),
    ],
)
def test_refusals(tmp_path, arguments, message):
    assert message in refused(tmp_path, **arguments)


def test_refused_numbers(tmp_path):
    read = table(tmp_path, TEXT + "5,3,0,none,high,1\n6,3,0,none,inf,1\n")
    with pytest.raises(UserError, match=r"row 6: top1 = 'high': must be a number, or empty"):
        read.target("top1")
    with pytest.raises(UserError, match=r"has no columns top5"):
        read.target("top5")
    with pytest.raises(UserError, match=r"column note is empty"):
        table(tmp_path, "k,se,skip,note\n3,0,none,\n").target("note")
    with pytest.raises(UserError, match=r"No such file"):
        ArchTable.of_columns(tmp_path / "nowhere.csv", CHOICES, COLUMNS, VALUES)


def test_digits(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("arch,acc\n010,1\n222,2\n")
    choices = [Choice(f"b{n}", ("0", "1", "2")) for n in (1, 2, 3)]
    assert ArchTable.of_digits(path, choices, "arch").positions.tolist() == [[0, 1, 0], [2, 2, 2]]
    path.write_text("arch,acc\n010,1\n22,2\n")
    with pytest.raises(UserError, match=r"row 2: arch = '22': must have 3 characters"):
        ArchTable.of_digits(path, choices, "arch")
    path.write_text("arch,acc\n010,1\n223,2\n")
    with pytest.raises(UserError, match=r"row 2: arch = '3': not in the space; allowed for b3: 0, 1, 2"):
        ArchTable.of_digits(path, choices, "arch")
