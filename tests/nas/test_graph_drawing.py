"""Drawings: every operation and every arrow of the graph, and a picture where Graphviz is installed."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from nas.errors import UserError
from nas.graph_drawing import dot, write_drawing
from search_spaces import zoo
from search_spaces.graph import INPUT
from search_spaces.lower import lower

NEEDS_GRAPHVIZ = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def graph_of(name, training=False):
    return lower(zoo.get(name), zoo.ZOO[name].resolution, 1000, training=training)


@pytest.mark.parametrize("name", zoo.ZOO)
@pytest.mark.parametrize("columns", [1, 3])
def test_nodes_and_arrows(name, columns):
    graph = graph_of(name, training=True)
    text = dot(graph, name, columns)
    nodes = set(re.findall(r'^"([^"@]+)" \[', text, re.MULTILINE))
    assert nodes == {INPUT, *(op.name for op in graph.ops)}
    arrows = re.findall(r'^"([^"@]+)(?:@\d+)?" -> "([^"@]+)";$', text, re.MULTILINE)
    assert sorted(arrows) == sorted((source, op.name) for op in graph.ops for source in op.inputs)


def test_one_column_names_no_origins_and_three_do():
    graph = graph_of("mobilenet_v3_large")
    assert "from b" not in dot(graph, "v3", 1)
    assert len(set(re.findall(r'label="from (b\d+)', dot(graph, "v3", 3)))) == 2


def test_labels_say_what_operations_are():
    text = dot(graph_of("mobilenet_v3_large"), "v3")
    for label in ("3x3 16 /2 hswish", "5x5 dw 72 /2 relu", "1x1 72 hsigmoid", "global pool", "scale", "linear 1000"):
        assert f'label="{label}"' in text
    text = dot(graph_of("googlenet"), "g")
    for label in ("3x3 max pool /2", "LRN", "concat 256", "5x5 32 relu"):
        assert f'label="{label}"' in text
    assert 'label="1x7 128 relu"' in dot(graph_of("inception_v3"), "v3")


def test_titles_are_quoted():
    assert r'digraph "a \"b\" \\c" {' in dot(graph_of("mnasnet_small"), 'a "b" \\c')


def test_dot_files_need_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    write_drawing(graph_of("mnasnet_small"), "small", tmp_path / "small.dot")
    assert (tmp_path / "small.dot").read_text() == dot(graph_of("mnasnet_small"), "small")
    with pytest.raises(UserError, match=r"needs Graphviz's program dot \(apt install graphviz\), or write a .dot file"):
        write_drawing(graph_of("mnasnet_small"), "small", tmp_path / "small.svg")


@pytest.mark.parametrize("name", ["small.gif", "small", "nowhere/small.dot"])
def test_files_that_cannot_be(tmp_path, name):
    with pytest.raises(UserError) as refused:
        write_drawing(graph_of("mnasnet_small"), "small", tmp_path / name)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@NEEDS_GRAPHVIZ
def test_pictures(tmp_path):
    graph = graph_of("googlenet", training=True)
    write_drawing(graph, "googlenet", tmp_path / "g.svg")
    root = ET.parse(tmp_path / "g.svg").getroot()
    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {op.name for op in graph.ops} <= titles
    write_drawing(graph, "googlenet", tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


@NEEDS_GRAPHVIZ
def test_graphviz_accepts_every_network():
    for name in zoo.ZOO:
        done = subprocess.run(
            ["dot", "-Tplain-ext", "-Gsplines=none", "-Gmaxiter=1"],
            input=dot(graph_of(name), name),
            text=True,
            capture_output=True,
            check=True,
        )
        assert done.stderr == "", name
