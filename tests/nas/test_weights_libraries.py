"""Weights interchange against torchvision's and timm's own modules: names, shapes and what they compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.weights import Loaded, load_weights, save_weights
from search_spaces import zoo
from search_spaces.lower import lower
from search_spaces.torch_module import GraphModule, build_module
from tests.libraries import LIBRARIES, randomised

CLASSES = 7
NO_INITIALISATION = {"init_weights": False}  # torchvision's own takes half a minute
MODELS = [
    ("mobilenet_v2", "torchvision", "mobilenet_v2", {}),
    ("mobilenet_v2@0.5", "torchvision", "mobilenet_v2", {"width_mult": 0.5}),
    ("mobilenet_v3_large", "torchvision", "mobilenet_v3_large", {}),
    ("mobilenet_v3_small", "torchvision", "mobilenet_v3_small", {}),
    ("mnasnet_b1", "torchvision", "mnasnet1_0", {}),
    ("mnasnet_b1@0.5", "torchvision", "mnasnet0_5", {}),
    ("resnet50_v15", "torchvision", "resnet50", {}),
    ("googlenet_torchvision", "torchvision", "googlenet", NO_INITIALISATION),
    ("inception_v3", "torchvision", "inception_v3", NO_INITIALISATION),
    ("mobilenet_v2", "timm", "mobilenetv2_100", {}),
    ("mobilenet_v2@1.4", "timm", "mobilenetv2_140", {}),
    ("mobilenet_v3_large", "timm", "mobilenetv3_large_100", {}),
    ("mobilenet_v3_large@0.75", "timm", "mobilenetv3_large_075", {}),
    ("mobilenet_v3_small", "timm", "mobilenetv3_small_100", {}),
    ("mnasnet_a1", "timm", "semnasnet_100", {}),
    ("mnasnet_b1", "timm", "mnasnet_100", {}),
    ("resnet50_v15", "timm", "resnet50", {}),
    ("inception_v3", "timm", "inception_v3", {}),
]


def load_from(oracle: nn.Module, ours: str, folder: Path) -> tuple[Loaded, GraphModule]:
    """What the library's file gives, and the module with it, auxiliary heads included."""
    variant = zoo.find(ours)
    torch.save(oracle.state_dict(), folder / "theirs.pth")
    loaded = load_weights(folder / "theirs.pth", variant.arch, resolution=variant.resolution)
    module = build_module(lower(loaded.arch, variant.resolution, loaded.num_classes, training=True), 0)
    assert loaded.put_into(module) == ()
    return loaded, module.eval()


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def check_auxiliary_head(ours: nn.Module, oracle: nn.Module, name: str) -> None:
    """On features of its published size; GoogLeNet's behind the pooling, whose windows are torchvision's own."""
    pool, *rest = ours.children()
    width, side, theirs = {"aux1": (512, 4, "aux1"), "aux2": (528, 4, "aux2")}[name]
    if hasattr(oracle, "AuxLogits"):
        width, side, theirs, rest = 768, 17, "AuxLogits", [pool, *rest]
    features = torch.randn(2, width, side, side, generator=torch.Generator().manual_seed(1)).double()
    assert_close(nn.Sequential(*rest)(features), oracle.get_submodule(theirs)(features))


@pytest.mark.parametrize(("ours", "library", "theirs", "options"), MODELS, ids=[f"{m[1]} {m[0]}" for m in MODELS])
def test_a_library_computes_the_same(ours, library, theirs, options, tmp_path):
    oracle = randomised(LIBRARIES[library](theirs, num_classes=CLASSES, **options))
    loaded, module = load_from(oracle, ours, tmp_path)
    assert loaded.num_classes == CLASSES
    assert loaded.dropped == (("aux1",) if (ours, library) == ("inception_v3", "timm") else ())  # timm leaves it out
    side = 96 if ours == "inception_v3" else 64
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert_close(module.double()(images.double()), oracle.double()(images.double()))
        for name in {part.name.split(".")[0] for part in module.graph.auxiliary}:
            check_auxiliary_head(module.get_submodule(name), oracle, name)

    save_weights(tmp_path / "back.safetensors", module.float(), library)
    back, state = load_file(tmp_path / "back.safetensors"), oracle.float().state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
