from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.errors import UserError

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
