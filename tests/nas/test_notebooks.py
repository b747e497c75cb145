"""The committed notebooks run, and show what GitHub can show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments" / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_000_000
PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = {"image/png", "image/svg+xml"}


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(notebook):
    """Mime types of each output that has some."""
    return [set(output.data) for output in outputs(notebook) if "data" in output]


def execute(name, to, *options, **environment):
    """Run the documented command; Jupyter's own files go to a folder that is left again."""
    environment = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(to / "jupyter"),
        "IPYTHONDIR": str(to / "ipython"),
        **environment,
    }
    command = [sys.executable, str(FOLDER / "execute.py"), name, "--to", str(to), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return nbformat.read(to / name, as_version=4), done


def test_there_are_three():
    assert NAMES == ["latency.ipynb", "netadapt.ipynb", "pareto_front.ipynb"]


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    assert (FOLDER / name).stat().st_size < MOST_BYTES
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]
    figures = [types for types in shown(notebook) if PLOTLY in types]
    assert len(figures) >= 3
    assert all(PICTURES & types for types in figures)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_public_interface_is_used(name):
    code = "\n".join(
        cell.source for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell.cell_type == "code"
    )
    lines = [line for line in code.splitlines() if line.startswith(("from ", "import "))]
    ours = [line for line in lines if "nas" in line.replace(".", " ").split()]
    assert len(ours) == 1
    assert ours[0].startswith("from nas import ")
    assert not {"search_spaces", "controllers", "latency", "experiments"} & {line.split()[1] for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_they_run_without_pictures(name, tmp_path):
    committed = nbformat.read(FOLDER / name, as_version=4)
    fresh, _ = execute(name, tmp_path, "--no-pictures")
    assert not [output for output in outputs(fresh) if output.output_type == "error" or output.get("name") == "stderr"]
    assert [cell.source for cell in fresh.cells] == [cell.source for cell in committed.cells]
    assert [PLOTLY in types for types in shown(fresh)] == [PLOTLY in types for types in shown(committed)]
    assert not any("image/png" in types for types in shown(fresh))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
def test_figures_get_pictures(tmp_path):
    fresh, _ = execute("pareto_front.ipynb", tmp_path)
    assert all("image/png" in types for types in shown(fresh) if PLOTLY in types)


def test_without_a_browser_they_run_all_the_same(tmp_path):
    fresh, done = execute("pareto_front.ipynb", tmp_path, PATH=str(tmp_path), BROWSER_PATH=str(tmp_path / "none"))
    assert "no PNG beside the figures" in done.stderr
    assert not [output for output in outputs(fresh) if output.output_type == "error"]
    assert not any("image/png" in types for types in shown(fresh))


def test_the_snippets_of_the_documentation_run():
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notebooks.md").read_text(), re.DOTALL)
    assert len(snippets) >= 3
    subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(snippets)], cwd=ROOT, check=True, capture_output=True
    )
