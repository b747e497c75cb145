"""Candidates spread in size."""

from __future__ import annotations

import numpy as np
import pytest

from nas.spread import MAX_SHARE, MIN_SHARE, spread_candidates
from search_spaces import zoo
from search_spaces.arch import Head, Stem
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.stages import StageLayout, StageOptions, stage_space


def macs(arch):
    return count(lower(arch, 224, 10)).macs


def test_candidates_are_spaced_evenly_around_the_reference(monkeypatch):
    monkeypatch.setattr("nas.spread.NUM_DRAWN", 150)
    reference = zoo.get("mobilenet_v2")

    found = spread_candidates(MNASNET, 6, 224, reference, seed=0)

    sizes = np.array([macs(arch) for arch in found])
    assert len({arch.key for arch in found}) == 6
    assert (sizes >= MIN_SHARE * macs(reference)).all()
    assert (sizes <= MAX_SHARE * macs(reference)).all()
    steps = np.diff(np.log(sizes))
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()
    assert spread_candidates(MNASNET, 6, 224, reference, seed=0) == found


def test_a_space_far_from_the_reference_is_refused():
    tiny = stage_space(
        "tiny", StageLayout(stages=(StageOptions(filters=(8, 16), expand=(1,)),), stem=Stem(8), head=Head(None))
    )

    message = r"space 'tiny': none of 1000 candidates has 0.25 to 1.5 times the 30. M MACs"
    with pytest.raises(ValueError, match=message):
        spread_candidates(tiny, 3, 224, zoo.get("mobilenet_v2"), seed=0)
