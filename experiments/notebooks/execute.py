"""Run the notebooks of this folder again, and keep what they show.

    python experiments/notebooks/execute.py [NAME.ipynb ...] [--to FOLDER] [--no-pictures]

Figures are kept twice: as plotly's own, which Jupyter shows, and as PNG, which GitHub shows. The latter takes Chromium,
through kaleido; where that does not work they are left out, and a line says so.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
INTERACTIVE, BOTH = "plotly_mimetype", "plotly_mimetype+png"
CELL_TIMEOUT_S = 600


def renderer() -> str:
    """What plotly can do here: `BOTH`, or `INTERACTIVE` where it makes no PNG."""
    try:
        go.Figure().to_image("png")
    except Exception as error:  # no kaleido, no Chromium, or one that does not start: each says it in a way of its own
        print(f"no PNG beside the figures: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return INTERACTIVE
    return BOTH


def executed(notebook: NotebookNode, rendered_by: str) -> NotebookNode:
    """`notebook` with fresh outputs, run from this folder as Jupyter would.

    Args:
        notebook: is changed.
        rendered_by: plotly's name of a renderer.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    client = NotebookClient(
        notebook,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # others may use this machine
        timeout=CELL_TIMEOUT_S,
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
    )
    client.execute(env={**os.environ, "PLOTLY_RENDERER": rendered_by})
    return notebook


def main() -> None:
    """Execute the notebooks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME.ipynb", help="of this folder; default: all")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="default: in place")
    parser.add_argument("--no-pictures", action="store_true", help="no PNG, whether there is Chromium or not")
    arguments = parser.parse_args()
    rendered_by = INTERACTIVE if arguments.no_pictures else renderer()
    for name in arguments.names or sorted(path.name for path in HERE.glob("*.ipynb")):
        notebook = executed(nbformat.read(HERE / name, as_version=4), rendered_by)
        nbformat.write(notebook, arguments.to / name)
        print(f"{name}: {(arguments.to / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
