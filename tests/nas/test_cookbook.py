"""What the cookbook shows can be asked for: its recipes, its searches."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nas.config import load_config, parse_config

TEXT = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text()
RECIPES = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
SEARCHES = [line.partition("#")[0].strip() for line in TEXT.splitlines() if line.startswith("nas search")]


@pytest.mark.parametrize("text", RECIPES)
def test_recipes(text):
    parse_config(text, "cookbook")


def test_its_space_has_as_many_networks_as_it_says():
    [text] = [text for text in RECIPES if "stages" in text]
    [said] = re.findall(r"([\d ]+) networks", TEXT)
    assert parse_config(text, "cookbook").search_space.size == int(said.replace(" ", ""))


@pytest.mark.parametrize("line", SEARCHES)
def test_searches(line):
    _, _, *arguments = shlex.split(line)
    options = list(zip(arguments[::2], arguments[1::2], strict=True))
    assert {name for name, _ in options} <= {"--set", "--data", "--config"}
    recipe = next((value for name, value in options if name == "--config" and value != "mine.yaml"), "mnas_large.yaml")
    load_config(recipe, [value for name, value in options if name == "--set"])


def test_there_are_some():
    assert len(RECIPES) == 2
    assert len(SEARCHES) == 10
