"""Scores of untrained networks."""

from __future__ import annotations

import math

import pytest
import torch

from nas.image_set import ImageSet
from nas.zero_cost import SCORES, ZeroCostEvaluator, jacob_cov, short_path, synflow
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Conv, Linear
from search_spaces.lower import lower
from search_spaces.stages import StageLayout, StageOptions, stage_space
from search_spaces.torch_module import build_module

CHAIN = parse_arch("stem_k3_s22_o8 r2_k3_s11_e2_i8_o8_noskip r1_k5_s22_conv_i8_o12 head_o16")
SPACE = stage_space("s", StageLayout(stages=(StageOptions(filters=(8, 16), kernel=(3, 5), expand=(1, 3), stride=2),)))


def images(count=8, seed=0):
    pixels = torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ImageSet(pixels, torch.arange(count) % 2, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_synflow_of_a_chain_is_layers_times_flow():
    """The flow R of a chain is linear in each layer's weights, so that each layer's sum of weight x gradient is R."""
    graph = lower(CHAIN, 16, 5)
    module = build_module(graph, 0)
    score = synflow(module, images())

    with torch.no_grad():  # of the module as it is left, with positive weights
        flow = float(module(torch.ones(1, 3, 16, 16, dtype=torch.float64)).sum())
    layers = sum(isinstance(op, Conv | Linear) for op in graph.ops)
    assert score == pytest.approx(math.log(layers * flow))


def test_synflow_needs_no_data_and_grows_with_width():
    narrow, wide = (parse_arch(f"stem_k3_s22_o8 r1_k3_s11_e3_i8_o{width}") for width in (8, 64))

    scores = [synflow(build_module(lower(arch, 16, 5), 0), images(seed=n)) for n, arch in enumerate((narrow, wide))]

    assert scores[0] < scores[1]
    assert scores[0] == synflow(build_module(lower(narrow, 16, 5), 0), images(seed=7))


def test_jacob_cov_is_low_where_images_are_told_apart_less():
    module = build_module(lower(CHAIN, 16, 5), 0)
    different = images()
    alike = ImageSet(different.images[:1].repeat(8, 1, 1, 1), different.labels, different.mean, different.std)
    alike.images[:, :, 0, 0] = torch.arange(8)[:, None]  # all but equal

    assert jacob_cov(module, alike) < jacob_cov(module, different) <= -8  # -N is the most: uncorrelated Jacobians


def test_short_path_needs_neither_weights_nor_data_and_prefers_residual_paths():
    skipped = parse_arch("stem_k3_s22_o8 r3_k3_s11_e2_i8_o8 head_o16")
    plain = parse_arch("stem_k3_s22_o8 r3_k3_s11_e2_i8_o8_noskip head_o16")

    scores = [short_path(lower(arch, 16, 5)) for arch in (skipped, plain)]

    assert scores == [-3, -12]  # stem, head and classifier; three inverted residuals of three convolutions each


def test_candidates_of_one_score_have_one_place(monkeypatch):
    """Widths do not change a path, so that half of the random candidates have one score and half the other."""
    drawn = iter([{"b1.expand": e, "b1.kernel": 3, "b1.filters": f} for e in (1, 3) for f in (8, 16)])
    monkeypatch.setattr("nas.zero_cost.NUM_REFERENCES", 4)
    monkeypatch.setattr(type(SPACE), "sample", lambda self, rng: next(drawn))
    evaluator = ZeroCostEvaluator("short_path", SPACE, images(), 2, seed=0)

    archs = [SPACE.to_arch({"b1.expand": e, "b1.kernel": 5, "b1.filters": 8}) for e in (1, 3)]

    assert [next(evaluator.evaluate(arch, 0)).accuracy for arch in archs] == pytest.approx([2.5 / 3, 0.5 / 3])


@pytest.mark.parametrize("name", SCORES)
def test_an_evaluation_is_the_place_among_random_candidates(name, monkeypatch):
    monkeypatch.setattr("nas.zero_cost.NUM_REFERENCES", 6)
    evaluator = ZeroCostEvaluator(name, SPACE, images(), 2, seed=0)

    archs = [SPACE.to_arch({"b1.expand": e, "b1.kernel": 3, "b1.filters": f}) for e in (1, 3) for f in (8, 16)]
    found = [next(evaluator.evaluate(arch, seed)).accuracy for seed, arch in enumerate(archs)]

    assert all(0 <= accuracy <= 1 for accuracy in found)
    assert len(set(found)) > 1
    assert next(evaluator.evaluate(archs[0], 9)).accuracy == found[0]
