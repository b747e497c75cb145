"""What notebooks and scripts import from `nas`."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nas

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
HEAVY = ("torch", "ray", "plotly")


def modules_after(code):
    """Top-level modules of a fresh interpreter after `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


def test_all_names_are_there():
    assert len(nas.__all__) == len(set(nas.__all__))
    for name in nas.__all__:
        assert getattr(nas, name).__name__ == name
    assert set(nas.__all__) <= set(dir(nas))


def test_what_types_are_checked_by_is_what_is_imported():
    tree = ast.parse(Path(nas.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {alias.name: node.module for node in block.body for alias in node.names}
    assert declared == nas._HOMES
    assert set(declared) == set(nas.__all__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'nas' has no attribute 'load_runs'"):
        nas.load_runs  # noqa: B018


def test_import_loads_nothing():
    assert not {"numpy", "pandas", "pydantic", *HEAVY} & modules_after("import nas")


@pytest.mark.parametrize("folder", ["search_*", "adapt_*"])
def test_reading_a_run_takes_neither_torch_nor_ray(folder):
    [first, *_] = sorted(RESULTS.glob(folder))
    frames = "run.trials, run.layers, run.front" if folder == "search_*" else "run.steps, run.proposals"
    assert not set(HEAVY) & modules_after(
        f"from nas import load_run\nrun = load_run({str(first)!r})\n{frames}, run.final"
    )


def test_reading_a_table_takes_neither_torch_nor_ray():
    [first, *_] = sorted(RESULTS.glob("latency_table_mnasnet_*"))
    code = f"from nas import load_latency_table\nload_latency_table({str(first)!r}).predict('mnasnet_a1')"
    assert not set(HEAVY) & modules_after(code)
