"""Files of weights: what comes back, what epsilon does, what is recognised, and what is refused in one line."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.errors import UserError
from nas.weights import NATIVE, load_weights, save_weights
from search_spaces import zoo
from search_spaces.arch import ArchSpec, Norm
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import GraphModule, build_module
from search_spaces.zoo import ZOO
from tests.libraries import randomised

SMALL = {"mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_a1", "mnasnet_b1"}
FORMS = [(name, library) for name, network in ZOO.items() for library in network.names]
FORMS += [(name, NATIVE) for name in sorted(SMALL)]
B1 = zoo.get("mnasnet_b1@0.35")


def module_of(arch: ArchSpec, classes: int = 5, resolution: int = 224) -> GraphModule:
    with torch.device("meta"):
        module = GraphModule(lower(arch, resolution, classes, training=True))
    return randomised(module.to_empty(device="cpu"))


def with_epsilon(arch: ArchSpec, epsilon: float) -> ArchSpec:
    return replace(arch, norm=Norm(epsilon))


def logits(module: GraphModule) -> torch.Tensor:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(images.double())


def assert_same(left: GraphModule, right: GraphModule, tolerance: float) -> None:
    difference = (logits(left) - logits(right)).abs().max()
    assert difference <= tolerance * logits(right).abs().max()


def refusal(path: Path, arch: ArchSpec = B1) -> str:
    with pytest.raises(UserError) as error:
        load_weights(path, arch)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture(scope="module")
def b1() -> GraphModule:
    return module_of(with_epsilon(B1, 1e-5))


@pytest.fixture
def state(b1, tmp_path):
    """A file's content by timm's names, to be spoilt."""
    save_weights(tmp_path / "timm.safetensors", b1, "timm")
    return load_file(tmp_path / "timm.safetensors")


@pytest.mark.parametrize(("name", "convention"), FORMS)
def test_there_and_back_again(name, convention, tmp_path):
    variant = zoo.find(f"{name}@0.35" if name in SMALL else name)
    naming = ZOO[name].names.get(convention)
    arch = with_epsilon(variant.arch, naming.epsilon) if naming else variant.arch
    module = module_of(arch, resolution=variant.resolution)
    save_weights(tmp_path / "weights.safetensors", module, convention)
    loaded = load_weights(tmp_path / "weights.safetensors", variant.arch, resolution=variant.resolution)
    assert (loaded.arch, loaded.num_classes, loaded.dropped) == (arch, 5, ())
    same_names = naming and naming == ZOO[name].names.get("torchvision")
    assert loaded.convention == ("torchvision" if same_names else convention)
    assert list(loaded.state_dict) == list(module.state_dict())
    for key, tensor in module.state_dict().items():
        assert torch.equal(loaded.state_dict[key], tensor), key
        assert loaded.state_dict[key].dtype == tensor.dtype, key


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_an_architecture_of_ones_own(suffix, tmp_path):
    arch = parse_arch("stem_k3_s22_o8 r2_k5_s22_e3_i8_o16_se0.25 head_o32_f16_hswish aux_b1_w0.3_o8_f16")
    module = module_of(arch, resolution=32)
    path = tmp_path / f"weights{suffix}"
    save_weights(path, module)
    loaded = load_weights(path, arch, resolution=32)
    assert (loaded.arch, loaded.convention) == (arch, "nas")
    again = build_module(lower(arch, 32, 5, training=True), 1)
    assert loaded.put_into(again) == ()
    assert_same(again, module, 1e-9)
    with pytest.raises(UserError, match=r"convention 'timm': the conventions with names for this network: nas$"):
        save_weights(path, module, "timm")


def test_another_epsilon_is_made_up_for(tmp_path):
    module = module_of(B1)
    assert B1.norm == Norm(1e-3)
    save_weights(tmp_path / "weights.pth", module, "torchvision")
    loaded = load_weights(tmp_path / "weights.pth", B1)
    assert loaded.arch == with_epsilon(B1, 1e-5)
    theirs = build_module(lower(loaded.arch, 224, 5), 0)
    loaded.put_into(theirs)
    assert_same(theirs, module, 1e-5)  # variances are rounded to single precision
    unshifted = build_module(lower(loaded.arch, 224, 5), 0)
    unshifted.load_state_dict(module.state_dict())
    with pytest.raises(AssertionError):
        assert_same(unshifted, module, 1e-4)


def test_a_larger_epsilon_cannot_be_made_up_for_where_variances_are_small(tmp_path):
    arch = with_epsilon(zoo.get("mobilenet_v3_small@0.35"), 1e-5)
    module = module_of(arch)
    save_weights(tmp_path / "weights.pth", module, "torchvision")
    with torch.no_grad():
        module.get_submodule("b2.l1.expand").norm.running_var[0] = 9e-4
    expected = (
        f"{tmp_path}/weights.pth: torchvision's epsilon is larger than this network's: "
        "b2.l1.expand.norm.running_var has variances below 0.00099"
    )
    with pytest.raises(UserError) as error:
        save_weights(tmp_path / "weights.pth", module, "torchvision")
    assert str(error.value) == expected


def test_what_other_programs_wrap_around(b1, state, tmp_path):
    expected = b1.state_dict()
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for number, content in enumerate(
        [
            {"epoch": 3, "state_dict": state},
            {"model": {f"module.{name}": tensor for name, tensor in state.items()}, "optimizer": {"lr": 0.1}},
            old,
        ]
    ):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        loaded = load_weights(path, B1).state_dict
        for key, tensor in expected.items():
            counter = content is old and key.endswith("num_batches_tracked")
            assert torch.equal(loaded[key], torch.zeros_like(tensor) if counter else tensor)


def test_half_precision_becomes_single(state, tmp_path):
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halves, tmp_path / "half.safetensors")
    loaded = load_weights(tmp_path / "half.safetensors", B1).state_dict
    assert torch.equal(loaded["stem.conv.weight"], state["conv_stem.weight"].half().float())
    assert loaded["stem.conv.weight"].dtype == torch.float32


def test_auxiliary_heads_that_are_missing_or_of_another_resolution(tmp_path):
    arch = zoo.get("googlenet_torchvision")
    module = module_of(arch)
    save_weights(tmp_path / "all.safetensors", module, "torchvision")
    content = load_file(tmp_path / "all.safetensors")
    save_file({name: x for name, x in content.items() if not name.startswith("aux")}, tmp_path / "main.safetensors")
    for path, resolution in [("main", 224), ("all", 96)]:
        loaded = load_weights(tmp_path / f"{path}.safetensors", arch, resolution=resolution)
        assert (loaded.arch, loaded.dropped) == (replace(arch, aux=()), ("aux1", "aux2"))
        deployed = GraphModule(lower(loaded.arch, resolution, 5))
        assert loaded.put_into(deployed) == ()
        training = GraphModule(lower(arch, resolution, 5, training=True))
        assert loaded.put_into(training) == tuple(
            f"aux{n}.{part}" for n in (1, 2) for part in ("conv", "hidden", "classifier")
        )
        assert_same(deployed, module, 1e-9)


def test_what_does_not_fit_a_module(b1, tmp_path):
    save_weights(tmp_path / "weights.pt", b1)
    loaded = load_weights(tmp_path / "weights.pt", with_epsilon(B1, 1e-5))
    finer = build_module(lower(loaded.arch, 64, 7), 0)
    before = finer.classifier.linear.weight.clone()
    assert loaded.put_into(finer) == ("classifier",)
    assert torch.equal(finer.classifier.linear.weight, before)
    assert torch.equal(finer.stem.conv.weight, b1.stem.conv.weight)
    with pytest.raises(ValueError, match="weights for Norm"):
        loaded.put_into(GraphModule(lower(B1, 64, 5)))
    with pytest.raises(ValueError, match=r"weights of another network: stem, b1.l1.depthwise, b1.l1.project and"):
        loaded.put_into(GraphModule(lower(with_epsilon(zoo.get("mnasnet_b1@1.4"), 1e-5), 64, 5)))


def test_weights_of_another_network(state, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    refused = f"{path}: not weights of this network: "
    advice = "; nas zoo list shows the networks there are"
    assert refusal(path, zoo.get("mobilenet_v2@0.35")) == (
        f"{refused}by timm's names it lacks 30 of 314 tensors (blocks.3.3.conv_pw.weight, blocks.3.3.bn1.weight, "
        "blocks.3.3.bn1.bias and 27 more) and has 30 that the network has not (blocks.1.2.bn1.bias, "
        f"blocks.1.2.bn1.running_mean, blocks.1.2.bn1.running_var and 27 more){advice}"
    )
    assert refusal(path, zoo.get("mnasnet_b1@0.5")) == (
        f"{refused}231 of 314 tensors have another shape (blocks.1.0.conv_pwl.weight is 8x24x1x1, not 16x24x1x1, "
        f"blocks.1.0.bn3.weight is 8, not 16, blocks.1.0.bn3.bias is 8, not 16 and 228 more){advice}"
    )
    assert refusal(path, zoo.get("googlenet")) == (
        f"{refused}its names (blocks.0.0.bn1.bias, blocks.0.0.bn1.running_mean, "
        f"blocks.0.0.bn1.running_var and 259 more) are none that nas gives to a weight of it{advice}"
    )


def test_a_file_for_another_network_of_the_zoo_is_told_apart(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, module_of(zoo.get("mnasnet_b1")), "torchvision")
    assert refusal(path, zoo.get("mobilenet_v2")).endswith("; they fit mnasnet_b1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier.weight": None}, "lacks 1 of 314 tensors (classifier.weight); "),
        ({"extra": torch.zeros(1)}, "has 1 that the network has not (extra); "),
        (
            {"classifier.weight": torch.tensor(1.0)},
            "(classifier.weight is a number, not 1x1280, ",
        ),
        ({"bn1.bias": torch.zeros(3)}, "1 of 314 tensors have another shape (bn1.bias is 3, not 16); "),
    ],
)
def test_one_tensor_is_wrong(state, change, message, tmp_path):
    spoilt = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
    torch.save(spoilt, tmp_path / "weights.pth")
    assert message in refusal(tmp_path / "weights.pth")


class Reckless:
    """What unpickling would run."""

    def __reduce__(self):
        return (print, ("this must not be run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.npz", b"", "weights are in files that end in .safetensors, .pth, .pt, .bin"),
        ("absent.pth", None, "no such file"),
        ("weights.safetensors", b"nonsense", "no safetensors file: "),
        ("weights.pth", b"", "cannot be read as weights alone: "),
        ("weights.pth", b"nonsense", "cannot be read as weights alone: "),
        ("weights.pth", Reckless(), "cannot be read as weights alone: "),
        ("weights.pth", {"epoch": 3}, "no state dict; write one with torch.save(model.state_dict(), 'weights.pth')"),
        ("weights.pth", [torch.zeros(1)], "no state dict; "),
        ("weights.pth", {}, "no state dict; "),
    ],
)
def test_files_that_are_no_weights(name, content, message, tmp_path, capfd):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    assert refusal(path).startswith(f"{path}: {message}")
    assert "this must not be run" not in capfd.readouterr().out


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_that_cannot_be_written(b1, suffix, tmp_path):
    path = tmp_path / "absent" / f"weights{suffix}"
    with pytest.raises(UserError, match=r"cannot be written: ") as error:
        save_weights(path, b1)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError, match=r"\.onnx: weights are in files that end in"):
        save_weights(tmp_path / "weights.onnx", b1)
