from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latency import meter_process
from nas.claims import registry
from nas.claims.claim import Check, Claim, Finding
from nas.claims.lab import Lab
from nas.cli import app
from nas.errors import UserError
from search_spaces.arch_string import parse_arch
from tests.nas.claims.fake_meter import FakeMeter

runner = CliRunner()


def run(*arguments: str) -> str:
    result = runner.invoke(app, ["claims", *arguments, "--no-latency"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_is_a_list_and_nothing_else() -> None:
    rows = json.loads(run("2", "45", "33", "--json"))
    assert [row["number"] for row in rows] == [2, 33, 45]
    assert all(row.keys() == {"number", "claim", "published", "source", "found", "verdict", "why"} for row in rows)
    assert [row["verdict"] for row in rows] == ["the notes are wrong", "not checked", "the notes are wrong"]


def test_table() -> None:
    text = " ".join(run("45", "2").split())
    assert "0.65" in text
    assert "2: The paper says" in text  # why
    assert text.endswith("2 claims: 2 the notes are wrong.")


def test_page(tmp_path: Path) -> None:
    page = tmp_path / "new" / "claims.md"
    run("45", "--markdown", str(page))
    assert "0.65 points" in page.read_text()


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose another file"):
        runner.invoke(app, ["claims", "45", "--no-latency", "--markdown", str(tmp_path)], catch_exceptions=False)


def test_an_unknown_number() -> None:
    with pytest.raises(UserError, match="no claim 56"):
        runner.invoke(app, ["claims", "56"], catch_exceptions=False)


class FakeProcess(FakeMeter):
    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def faster(lab: Lab) -> Finding:
    first, second = (parse_arch(f"stem_k3_s22_o8 r1_k3_s11_e{e}_i8_o8 head_o16") for e in (1, 3))
    return Finding(str(lab.ratio(first, second, "two small networks")), "holds")


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    """One claim, checked by measuring, with a fake meter in place of the measuring process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake = FakeProcess([(0.5, "ok"), (0.6, "ok")])
    monkeypatch.setattr(meter_process, "MeterProcess", lambda core: fake)
    known = registry.Registry(
        {1: Claim(1, "A is faster.", published="0.5", source="here")}, {1: (Check(1, "latency", faster),)}
    )
    monkeypatch.setattr(registry, "registry", lambda: known)
    return fake


def test_measurements_are_remembered_until_fresh_ones_are_wanted(process: FakeProcess, tmp_path: Path) -> None:
    def found(*options: str) -> str:
        result = runner.invoke(app, ["claims", "--json", *options], catch_exceptions=False)
        (row,) = json.loads(result.stdout)
        return str(row["found"])

    assert [found()[:5], found()[:5], found("--fresh")[:5], found()[:5]] == ["0.500", "0.500", "0.600", "0.600"]
    assert len(process.seeds) == 2
    assert found("--no-latency") == "run nas claims 1 without --no-latency"
    page = tmp_path / "claims.md"
    found("--markdown", str(page))
    assert process.device.cpu in page.read_text()


def test_a_device_that_cannot_measure(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise meter_process.MeasuringError("no core to measure on")

    monkeypatch.setattr(process, "measure", fails)
    with pytest.raises(UserError, match="no core to measure on"):
        runner.invoke(app, ["claims"], catch_exceptions=False)
