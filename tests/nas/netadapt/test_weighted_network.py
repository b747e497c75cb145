"""A network with its weights: it survives pickling, copies what it gives out, and is cut as slicing cuts."""

from __future__ import annotations

import pickle

import pytest
import torch

from nas.netadapt.weighted_network import WeightedNetwork
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.narrowing import groups_of, narrowed
from search_spaces.slicing import kept_channels, sliced_state
from search_spaces.torch_module import build_module

ARCH = parse_arch("stem_k3_s22_o8 r2_k3_s22_e2_i8_o16_se0.5 r1_k3_s11_x24_i16_o16 head_o8")
FLAT = one_layer_blocks(ARCH)


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained():
    module = build_module(lower(ARCH, 16, 5), 0).eval()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith("norm.weight"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return module


def test_it_computes_what_the_module_does_under_the_names_of_its_own_architecture(trained, images):
    network = WeightedNetwork.of(FLAT, trained)
    module = network.module()
    assert "b1.l2.project.conv.weight" in trained.state_dict()
    assert list(module.state_dict()) == list(network.state) == list(build_module(network.graph, 0).state_dict())
    assert (network.resolution, network.num_classes) == (16, 5)
    assert not any(part.training for part in module.modules())
    assert module.get_submodule("b3.l1.project").conv.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(module(images), trained(images))


def test_its_tensors_are_its_own(trained):
    network = WeightedNetwork.of(FLAT, trained)
    before = {name: tensor.clone() for name, tensor in network.state.items()}
    for module in (trained, network.module()):
        for tensor in module.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state.items())


def test_building_a_module_draws_nothing(trained):
    network = WeightedNetwork.of(FLAT, trained)
    before = torch.get_rng_state()
    network.module()
    assert torch.equal(torch.get_rng_state(), before)


def test_pickling_loses_nothing(trained, images):
    network = WeightedNetwork.of(FLAT, trained)
    copied = pickle.loads(pickle.dumps(network))
    assert copied.arch == FLAT
    with torch.no_grad():
        assert torch.equal(copied.module()(images), trained(images))


def test_it_is_cut_to_its_strongest_channels(trained):
    network = WeightedNetwork.of(FLAT, trained)
    arch = narrowed(FLAT, groups_of(FLAT), {"b1.l1.project": 8})
    narrow = network.narrowed(arch)
    kept = kept_channels(network.graph, network.state, lower(arch, 16, 5))
    expected = sliced_state(network.graph, network.state, lower(arch, 16, 5), kept)
    assert narrow.arch == arch
    assert narrow.state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in narrow.state.items())
    assert narrow.module().get_submodule("b2.l1.project").conv.weight.shape[0] == 8


def test_other_networks_are_refused(trained):
    network = WeightedNetwork.of(FLAT, trained)
    other = parse_arch("stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o8")
    with pytest.raises(ValueError, match="other operations"):
        network.narrowed(other)
    with pytest.raises(ValueError, match="other operations"):
        WeightedNetwork.of(other, trained)
    narrow = network.narrowed(narrowed(FLAT, groups_of(FLAT), {"b3.l1.expand": 18}))
    with pytest.raises(ValueError, match=r"b3\.l1\.expand: 18 channels become 24"):
        narrow.narrowed(FLAT)
