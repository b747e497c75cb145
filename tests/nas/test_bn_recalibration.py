"""Statistics of batch normalisation taken anew."""

from __future__ import annotations

import torch

from nas.bn_recalibration import calibration_inputs, recalibrate, recalibrate_from
from nas.image_set import ImageSet
from nas.network_walk import walk
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


def test_a_lone_last_image_is_left_out():
    """Of one image there may be one value a channel, which has no variance."""
    module, same = (build_module(lower(ARCH, 16, 5), 0) for _ in range(2))
    recalibrate(module, images(129))
    recalibrate(same, images(128))
    assert module.get_submodule("stem").norm.num_batches_tracked == 1
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in module.state_dict().items())


def test_what_lies_before_the_position_is_left_alone():
    module, whole = (build_module(lower(ARCH, 16, 5), 0) for _ in range(2))
    data = images(140)
    recalibrate(whole, data)
    position = 2
    for norm in (whole.get_submodule(op.name).norm for op in whole.graph.ops[:position]):
        norm.train()  # by the statistics of the batch, as in the calibration
        norm.momentum = 0.0
    with torch.no_grad():
        batches = [alive for (alive,) in walk(whole.program, calibration_inputs(data), (0, position))]

    recalibrate_from(module, batches, position)

    early = tuple(f"{op.name}." for op in whole.graph.ops[:position])
    fresh = build_module(lower(ARCH, 16, 5), 0).state_dict()
    for name, tensor in module.state_dict().items():
        expected = fresh if name.startswith(early) else whole.state_dict()
        assert torch.equal(tensor, expected[name]), name
    assert not any(part.training for part in module.modules())
    assert module.get_submodule("head.conv").norm.momentum == 0.1
