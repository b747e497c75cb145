"""What can be said of a recipe before anything starts."""

from __future__ import annotations

import os

import pytest

from nas.config import load_config, parse_config
from nas.errors import UserError
from nas.recipe_check import check, resolved
from search_spaces import zoo


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["final.inherit=true"], "final.inherit: weights are inherited from a supernet; evaluator.name is train"),
        (
            ["evaluator.name=supernet", "evaluator.supernet.anchor=mobilenet_v2"],
            "evaluator.supernet.anchor 'mobilenet_v2'",
        ),
        (["evaluator.name=supernet", "evaluator.supernet.anchor=mobilenet_v9"], "mobilenet_v9"),
    ],
)
def test_what_cannot_work_is_said(assignments, message):
    with pytest.raises(UserError, match=message):
        check(load_config("mnas_large.yaml", assignments))


def test_names_and_paths_hold_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("mnas_large.yaml", ["evaluator.supernet.anchor=mnasnet_a1", "evaluator.supernet.folder=super"])
    check(config)

    found = resolved(config, None).evaluator.supernet

    assert found.folder == os.path.join(tmp_path, "super")
    assert found.anchor == str(zoo.get("mnasnet_a1"))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("train", "held-out accuracy"),
        ("supernet", "held-out score with shared weights"),
        ("zero_cost", "place among random networks"),
    ],
)
def test_what_is_no_accuracy_is_not_called_one(name, label):
    assert load_config("mnas_large.yaml", [f"evaluator.name={name}"]).evaluator.label == label
    given = load_config("mnas_large.yaml", [f"evaluator.name={name}", "evaluator.label=mine"])
    assert given.evaluator.label == "mine"
    assert parse_config(given.dump(), "dump") == given
