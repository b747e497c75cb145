"""Statistics of batch normalisation taken anew."""

from __future__ import annotations

import torch

from nas.bn_recalibration import recalibrate
from nas.image_set import ImageSet
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s11_e2_i8_o8 head_o16")


def images(count):
    pixels = torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def test_statistics_are_those_of_the_images_and_nothing_else_changes():
    module = build_module(lower(ARCH, 16, 5), 0)
    data = images(128)  # one batch
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    inputs = data.normalised(data.images)
    stem = module.get_submodule("stem").conv(inputs)

    recalibrate(module, data)

    norm = module.get_submodule("stem").norm
    torch.testing.assert_close(norm.running_mean, stem.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, stem.var((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1
    assert not any(part.training for part in module.modules())
    assert all(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())


def test_several_batches_are_averaged_and_earlier_statistics_are_forgotten():
    data = images(256)
    module = build_module(lower(ARCH, 16, 5), 0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.fill_(77.0)
    stem = module.get_submodule("stem").conv(data.normalised(data.images))

    recalibrate(module, data, num_images=256)

    found = module.get_submodule("stem").norm.running_mean
    torch.testing.assert_close(found, stem.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
