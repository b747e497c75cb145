"""The network that an adaptation begins with: from a file, or trained first; and whether it knows anything."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from nas.data import load_dataset
from nas.errors import UserError
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.seed_network import check_skill, seed_network
from nas.weights_file import read_state, write_state
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.nas.netadapt.adaptations import images

ARCH = "stem_k3_s22_o8 r2_k3_s22_e2_i8_o16 head_o16 aux_b1_w0.3_o8"
RESOLUTION, NUM_CLASSES = 16, 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(
        str(images(tmp_path_factory.mktemp("data") / "three.npz", num_classes=NUM_CLASSES, num_train=60))
    )


def config(weights=None, arch=ARCH):
    network = {"name": "small", "arch": arch}
    return AdaptConfig.model_validate(
        {
            "network": {"name": "small", "arch": str(one_layer_blocks(parse_arch(arch)))},
            "weights": weights and str(weights),
            "training": {
                "network": network,
                "data": {"source": "three.npz", "resolution": RESOLUTION, "holdout": 0.2},
                "training": {"epochs": 1, "batch_size": 16},
            },
            "budgets": ["macs=0.8L"],
            "latency": {"resolution": RESOLUTION},
        }
    )


def saved(path, arch=ARCH, num_classes=NUM_CLASSES):
    write_state(path, build_module(lower(parse_arch(arch), RESOLUTION, num_classes), seed=4).state_dict())
    return path


def test_weights_come_as_their_file_has_them(dataset, tmp_path):
    file = saved(tmp_path / "w.safetensors")
    printed = io.StringIO()
    found = seed_network(config(file), tmp_path / "seed", dataset, Console(file=printed))
    plain = one_layer_blocks(parse_arch(ARCH))
    assert (str(found.arch), found.resolution, found.num_classes) == (
        str(plain).split(" aux")[0],
        RESOLUTION,
        NUM_CLASSES,
    )
    own = build_module(lower(parse_arch(ARCH), RESOLUTION, NUM_CLASSES), seed=4).eval()
    batch = torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found.module()(batch), own(batch))  # though layers are numbered in another way
    assert not (tmp_path / "seed").exists()
    assert printed.getvalue() == ""


def test_without_weights_it_is_trained_first_and_once(dataset, tmp_path):
    first = seed_network(config(), tmp_path / "seed", dataset, Console(file=(printed := io.StringIO())))
    assert "training  small first, for it has no weights" in printed.getvalue()
    assert "epoch 1/1" in printed.getvalue()
    kept = read_state(tmp_path / "seed" / "best" / "weights.safetensors")
    [bias] = [name for name, tensor in first.state.items() if tensor.shape == (NUM_CLASSES,)]
    assert torch.equal(first.state[bias], kept[bias])
    assert (tmp_path / "seed" / "final.json").is_file()
    again = seed_network(config(), tmp_path / "seed", dataset, Console(file=(printed := io.StringIO())))
    assert "first" not in printed.getvalue()
    assert all(torch.equal(again.state[name], tensor) for name, tensor in first.state.items())


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"arch": "stem_k3_s22_o8 r1_k3_s22_e2_i8_o24 head_o16"}, "not weights of this network"),
        ({"num_classes": 7}, "it tells 7 classes apart and .*three.npz has 3; leave the weights out"),
    ],
)
def test_weights_of_something_else(dataset, tmp_path, of, message):
    file = saved(tmp_path / "w.safetensors", **of)
    with pytest.raises(UserError, match=message) as caught:
        seed_network(config(file), tmp_path / "seed", dataset, Console(file=io.StringIO()))
    assert "\n" not in str(caught.value)


def test_no_file(dataset, tmp_path):
    with pytest.raises(UserError, match="none"):
        seed_network(config(tmp_path / "none.safetensors"), tmp_path / "seed", dataset, Console(file=io.StringIO()))


@pytest.mark.parametrize(("accuracy", "num_classes"), [(0.19, 10), (0.11, 100), (0.55, 2), (1.0, 1), (0.9, 1000)])
def test_skill(accuracy, num_classes):
    """A tenth of the way from guessing to knowing; rounding is the test's own."""
    check_skill(accuracy + 1e-9, num_classes, "net")


@pytest.mark.parametrize(("accuracy", "num_classes"), [(0.18, 10), (0.10, 100), (0.54, 2), (0.0, 1000)])
def test_too_little_skill(accuracy, num_classes):
    with pytest.raises(UserError, match=f"net is right about {accuracy:.1%} of the held-out images, guessing about"):
        check_skill(accuracy, num_classes, "net")
