"""Batches of images on their way through a network."""

from __future__ import annotations

import pytest
import torch

from nas.image_set import ImageSet
from nas.network_walk import NetworkInputs, walk
from search_spaces.arch_string import parse_arch
from search_spaces.graph import INPUT
from search_spaces.lower import lower
from search_spaces.torch_module import build_module


def images(count):
    pixels = torch.arange(count * 3 * 64).remainder(251).to(torch.uint8).view(count, 3, 8, 8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.mark.parametrize(
    ("num_images", "smallest", "sizes"),
    [(99, 1, [4, 4, 1]), (99, 2, [4, 4]), (6, 2, [4, 2]), (8, 4, [4, 4]), (1, 2, []), (0, 1, [])],
)
def test_inputs_are_the_first_images_in_batches(num_images, smallest, sizes):
    data = images(9)
    inputs = NetworkInputs(data, num_images, 4, smallest)
    batches = [alive[INPUT] for alive in inputs]
    assert [len(batch) for batch in batches] == sizes
    assert len(inputs) == sum(sizes)
    if sizes:
        assert torch.equal(torch.cat(batches), data.normalised(data.images[: sum(sizes)]))
    assert [len(alive[INPUT]) for alive in inputs] == sizes  # a second time


def test_a_walk_passes_the_positions_asked_for():
    module = build_module(lower(parse_arch("stem_k3_s22_o8 r2_k3_s11_x16_i8_o8 head_o16"), 8, 5), 0).eval()
    inputs = NetworkInputs(images(9), 9, 4)
    second = next(index for index, op in enumerate(module.graph.ops) if op.name.startswith("b1.l2"))
    seen = []
    module.get_submodule("b1.l1.add").register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        walked = list(walk(module.program, inputs, (0, second, len(module.graph.ops))))
        expected = [module(alive[INPUT]) for alive in inputs]
    assert [list(middle) for middle, _ in walked] == [["b1.l1.add"]] * 3
    assert all(torch.equal(middle["b1.l1.add"], output) for (middle, _), output in zip(walked, seen[:3], strict=True))
    assert all(torch.equal(last["classifier"], logits) for (_, last), logits in zip(walked, expected, strict=True))
