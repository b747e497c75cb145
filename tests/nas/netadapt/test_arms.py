"""Which images score; what is found again. The tasks themselves run in `test_adapting`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from nas.data import load_dataset
from nas.data_tensors import image_source
from nas.netadapt import arms as module
from nas.netadapt.adaptation import Position
from nas.netadapt.arms import FEWEST_SCORED, ArmImages, Arms, _keep
from nas.netadapt.tournament import Round
from search_spaces.arch_string import parse_arch


def arm_images(num_held_out):
    digits = load_dataset("digits")
    sources = (np.arange(100, 140), np.arange(100, 110), np.arange(num_held_out))
    return ArmImages(*(image_source(digits, 8, indices=indices) for indices in sources))


@pytest.mark.parametrize(
    ("num", "share", "scored"),
    [(80, 0.25, 20), (80, 0.5, 40), (80, 1.0, 80), (3, 0.25, FEWEST_SCORED), (2, 0.25, 2), (1, 0.25, 1)],
)
def test_the_first_images_score(num, share, scored):
    images = arm_images(num)
    assert torch.equal(images.first(share).labels, images.holdout.labels[:scored])
    assert len(images.first(share)) == scored


def test_images_of_a_round_are_the_first_of_every_later_one():
    images = arm_images(30)
    shares = [images.first(share).labels.tolist() for share in (0.25, 0.5, 1.0)]
    for few, more in pairwise(shares):
        assert more[: len(few)] == few


@pytest.fixture
def arms(monkeypatch, tmp_path):
    """Without Ray: nothing may be computed."""
    monkeypatch.setattr(module.ray, "put", lambda value: value)
    told = []
    made = Arms(arm_images(4), None, "accuracy", 0, 1, tmp_path, lambda done, total, round_: told.append((done, total)))
    return made, told


def test_scores_of_an_interrupted_step_are_found_again(arms, tmp_path):
    made, told = arms
    archs = [parse_arch(f"r1_k3_s11_x{width}_i32_o16") for width in (64, 48, 40)]
    (tmp_path / "3").mkdir()
    for number, arch in enumerate(archs):
        _keep(tmp_path / "3" / f"2-{arch.key}.npy", np.full(4, number / 4))
    assert {path.suffix for path in (tmp_path / "3").iterdir()} == {".npy"}
    parent = Position(archs[0], 1.0, step=2)
    found = made.score(None, parent, archs, Round(2, 4, 1.0))
    assert [outcome.tolist() for outcome in found] == [[0.0] * 4, [0.25] * 4, [0.5] * 4]
    assert told == [(3, 3)]


def test_what_a_step_has_left_is_forgotten_with_it(arms, tmp_path):
    made, _ = arms
    for step in (3, 4):
        (tmp_path / f"{step}").mkdir()
        (tmp_path / f"{step}" / "1-abc.npy").write_bytes(b"")
    made.forget(3)
    made.forget(3)
    assert [path.name for path in tmp_path.iterdir()] == ["4"]
