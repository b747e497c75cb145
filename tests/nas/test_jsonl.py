import os
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import UserError
from nas.jsonl import JsonLines, JsonLinesTail, read_json_lines
from tests.strategies import PROPERTY

RECORDS = [
    {"number": 0, "text": "plain"},
    {"number": 1, "text": 'a "quoted" line\nbreak, ö'},
    {"number": 2, "list": [1.5, None]},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.jsonl"


def opened(path, format_name="test", version=1):
    return JsonLines(path, format_name, version)


def write(path, records=RECORDS):
    with opened(path) as lines:
        for record in records:
            lines.append(record)


def quiet_records(path):
    """Records of a file that is whole: opening it warns of nothing, and leaves it as it is."""
    before = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(path) as lines:
            records = lines.records
    assert path.read_bytes() == before
    return records


def test_round_trip(path):
    write(path)
    assert quiet_records(path) == read_json_lines(path, "test", 1) == RECORDS
    header, *lines, end = path.read_text().split("\n")
    assert header == '{"format":"test","version":1}'
    assert len(lines) == len(RECORDS)
    assert end == ""


def test_records_are_there_at_once(path):
    with opened(path) as lines:
        assert read_json_lines(path, "test", 1) == []
        for count, record in enumerate(RECORDS, start=1):
            lines.append(record)
            assert read_json_lines(path, "test", 1) == lines.records == RECORDS[:count]


def test_a_record_is_kept_as_it_was_when_it_was_appended(path):
    record = {"number": 0}
    with opened(path) as lines:
        lines.append(record)
        record["number"] = 1
        assert lines.records == [{"number": 0}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@PROPERTY
@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=3))
def test_any_json_survives(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("any") / "some.jsonl"
    write(path, records)
    assert quiet_records(path) == records


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_not_written(path, value):
    write(path, RECORDS[:1])
    before = path.read_bytes()
    with opened(path) as lines:
        with pytest.raises(ValueError, match="JSON compliant"):
            lines.append({"number": value})
        assert lines.records == RECORDS[:1]
    assert path.read_bytes() == before


def test_killed_at_any_byte(path):
    """Cut a file at every length: all whole records come back, and the file can be appended to."""
    write(path)
    raw = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(raw) if byte == ord("\n")]  # of the header, of each record
    assert len(ends) == 4
    for size in range(len(raw) + 1):
        path.write_bytes(raw[:size])
        whole = sum(end <= size for end in ends) - 1  # records; -1: not even the header
        if whole >= 0:
            assert read_json_lines(path, "test", 1) == RECORDS[:whole]
            assert path.read_bytes() == raw[:size]  # reading changes nothing
        if size in (0, *ends):
            assert quiet_records(path) == RECORDS[: max(whole, 0)] if size else True
        else:
            with (
                pytest.warns(UserWarning, match=r"some\.jsonl: dropped a line that was cut short"),
                opened(path) as lines,
            ):
                assert lines.records == RECORDS[: max(whole, 0)]
        write(path, [{"number": 99}])
        assert quiet_records(path) == [*RECORDS[: max(whole, 0)], {"number": 99}]


def test_a_file_that_was_killed_before_its_header(path):
    path.touch()
    write(path)
    assert quiet_records(path) == RECORDS


@pytest.mark.parametrize("tail", [b'{"number": 3,', b"\0\0\0\0", b"\xff\xfe", b'{"number"\n', b"\0\0\0\n", b"\n"])
def test_whatever_a_crash_leaves_in_the_last_line(path, tail):
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert read_json_lines(path, "test", 1) == RECORDS
    with pytest.warns(UserWarning, match="cut short"), opened(path) as lines:
        assert lines.records == RECORDS
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"{", b"\0", b"", b'{"number": 1}}'])
def test_a_damaged_line_inside_is_an_error(path, damage):
    write(path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    damaged = b"\n".join(lines)
    path.write_bytes(damaged)
    for read in (lambda: opened(path), lambda: read_json_lines(path, "test", 1)):
        with pytest.raises(UserError, match=r"some\.jsonl, line 3: not JSON; restore the file from a copy"):
            read()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(("format_name", "version"), [("other", 1), ("test", 2)])
@pytest.mark.parametrize("tail", [b"", b'{"torn'])
def test_files_of_others_are_refused_and_left_alone(path, format_name, version, tail):
    write(path)
    path.write_bytes(path.read_bytes() + tail)
    before = path.read_bytes()
    with pytest.raises(UserError, match="another program or version wrote it") as error:
        opened(path, format_name, version)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError, match=f"not a {format_name} file of version {version}"):
        read_json_lines(path, format_name, version)
    assert path.read_bytes() == before


def test_some_other_text_is_refused(path):
    path.write_text('{"number": 1}\n{"number": 2}\n')
    with pytest.raises(UserError, match="another program or version wrote it"):
        opened(path)


def test_reading_what_is_not_there(path):
    with pytest.raises(UserError, match=r"some\.jsonl: no such file"):
        read_json_lines(path, "test", 1)
    assert not path.exists()


def test_keep(path):
    write(path)
    with opened(path) as lines:
        lines.keep(lambda record: record["number"] != 1)
        assert lines.records == [RECORDS[0], RECORDS[2]]
        lines.append({"number": 3})
    assert quiet_records(path) == [RECORDS[0], RECORDS[2], {"number": 3}]
    assert list(path.parent.iterdir()) == [path]


def test_keeping_all_touches_nothing(path):
    write(path)
    inode = path.stat().st_ino
    with opened(path) as lines:
        lines.keep(lambda record: True)
    assert path.stat().st_ino == inode
    assert quiet_records(path) == RECORDS


def test_keep_is_atomic(path, monkeypatch):
    """Killed while the shorter file is written, or before it takes its place: the old one is whole."""
    write(path)

    def killed(*args):
        raise KeyboardInterrupt

    for name in ("write_bytes", "replace"):
        with monkeypatch.context() as patch, opened(path) as lines:
            patch.setattr(type(path), name, killed)
            with pytest.raises(KeyboardInterrupt):
                lines.keep(lambda record: False)
        assert quiet_records(path) == RECORDS


def test_two_files_in_one_folder_do_not_meet(tmp_path):
    first, second = tmp_path / "trials.jsonl", tmp_path / "latency.jsonl"
    write(first)
    write(second)
    with opened(first) as one, opened(second) as two:
        one.keep(lambda record: record["number"] == 0)
        two.keep(lambda record: record["number"] == 2)
    assert quiet_records(first) == RECORDS[:1]
    assert quiet_records(second) == RECORDS[2:]


def test_a_record_is_one_write(path, monkeypatch):
    """So that a reader, or a kill, finds a line whole or a prefix of it; and it is flushed to the disk."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    write(path)
    assert [raw.count(b"\n") for raw in synced] == [1, 2, 3, 4]


def test_the_tail_gives_each_record_once_and_waits_for_what_is_not_whole(path):
    tail = JsonLinesTail(path, "test", 1)
    assert tail.new_records() == []  # no file yet
    path.write_bytes(b'{"format":"te')
    assert tail.new_records() == []  # no header yet
    path.unlink()
    write(path, RECORDS[:2])
    assert tail.new_records() == RECORDS[:2]
    assert tail.new_records() == []
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number": 2, "li')
    assert tail.new_records() == []
    path.write_bytes(whole + b"\0\0\0\n")  # what a shared folder may show of a line that is on its way
    assert tail.new_records() == []
    path.write_bytes(whole)
    write(path, RECORDS[2:])
    assert tail.new_records() == RECORDS[2:]


def test_the_tail_refuses_other_files(path):
    write(path)
    with pytest.raises(UserError, match="not a test file of version 2"):
        JsonLinesTail(path, "test", 2).new_records()
    tail = JsonLinesTail(path, "test", 1)
    tail.new_records()
    path.unlink()
    write(path, RECORDS[:1])
    with pytest.raises(UserError, match="another file has taken its place"):
        tail.new_records()
