import json
import math

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from latency.latency import Latency
from nas import finale
from nas.errors import UserError
from nas.finale import MAX_DIFFERENCE, Finalist, check_baselines, export, wilson_interval
from nas.training import ImageSet
from search_spaces.arch_json import arch_from_json
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.strategies import PROPERTY

Z2 = 1.959964**2
ARCH = parse_arch(
    "stem_k3_s22_o8_hswish r2_k5_s22_e3_i8_o16_hse0.25_hswish r1_k3_s11_e2_i16_o16_se0.5 head_o32_f24_hswish"
)
CLASSES = ("none", "some", "many", "größer")


@pytest.mark.parametrize("total", [1, 7, 360])
def test_interval_of_none_and_all(total):
    low, high = wilson_interval(0, total)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(Z2 / (total + Z2))
    assert wilson_interval(total, total) == pytest.approx((1 - high, 1.0))


def test_interval_of_a_half():
    # (1/2) +- z / (2 sqrt(n + z^2))
    for total in (2, 100, 10_000):
        spread = math.sqrt(Z2) / (2 * math.sqrt(total + Z2))
        assert wilson_interval(total // 2, total) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert wilson_interval(50, 100) == pytest.approx((0.403832, 0.596168), abs=1e-6)


@PROPERTY
@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_solves_wilson_s_equation(observed):
    """Its ends are the proportions p that are z of their own standard deviations away: (k/n - p)^2 = z^2 p (1 - p) / n."""
    successes, total = observed
    found = successes / total
    low, high = wilson_interval(successes, total)
    assert -1e-9 <= low <= found + 1e-9
    assert found - 1e-9 <= high <= 1 + 1e-9
    for end in (low, high):
        assert (found - end) ** 2 == pytest.approx(Z2 * end * (1 - end) / total, rel=1e-6, abs=1e-9)


def test_interval_covers():
    """Exact coverage over the binomial distribution of 360 images, averaged over true accuracies."""
    total = 360
    intervals = np.array([wilson_interval(k, total) for k in range(total + 1)])
    log_choose = np.array(
        [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(total + 1)]
    )
    k = np.arange(total + 1)
    coverage = []
    for p in np.linspace(0.05, 0.99, 95):
        mass = np.exp(log_choose + k * math.log(p) + (total - k) * math.log(1 - p))
        coverage.append(mass[(intervals[:, 0] <= p) & (p <= intervals[:, 1])].sum())
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert min(coverage) > 0.92


@pytest.mark.parametrize("total", [0, -1])
def test_no_observations_no_interval(total):
    with pytest.raises(ValueError, match="at least one observation"):
        wilson_interval(0, total)


def test_a_finalist_knows_its_figures():
    latency = Latency(3.0, (2.9, 3.1), 1.5, (1.4, 1.6), "ok", "measured", num_pairs=4)
    finalist = Finalist(
        "winner", str(ARCH), 10, 20, num_test=360, num_correct=270, latency=latency.to_dict(), training_s=1.5
    )
    assert finalist.accuracy == 0.75
    assert finalist.accuracy_interval == wilson_interval(270, 360)
    assert finalist.measured == latency
    unmeasured = Finalist("winner", str(ARCH), 10, 20, num_test=360, num_correct=0, latency=None, training_s=1.5)
    assert unmeasured.measured is None


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=generator)
    return ImageSet(
        pixels.to(memory_format=torch.channels_last),
        torch.zeros(40, dtype=torch.int64),
        (0.4, 0.5, 0.6),
        (0.2, 0.3, 0.25),
    )


@pytest.fixture
def weights(tmp_path):
    """Weights as training leaves them: nothing at its initial value, BN least of all."""
    module = build_module(lower(ARCH, 24, len(CLASSES)), seed=0)
    generator = torch.Generator().manual_seed(1)
    state = module.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
        else:
            tensor.fill_(12)
    path = tmp_path / "trained.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def test_export(images, weights, tmp_path):
    folder = tmp_path / "best"
    assert 0 <= export(ARCH, weights, images, CLASSES, folder) <= MAX_DIFFERENCE
    assert sorted(path.name for path in folder.iterdir()) == ["arch.json", "model.onnx", "weights.safetensors"]
    assert arch_from_json(json.loads((folder / "arch.json").read_text())) == ARCH

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert parse_arch(metadata["arch"]) == ARCH
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert json.loads(metadata["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(metadata["std"]) == [0.2, 0.3, 0.25]
    assert metadata["input"] == "RGB in [0, 1], minus mean, over std, channels first"

    # a user who has only the files and the metadata, against torch with the saved weights
    pixels = images.images[39].numpy().astype(np.float32) / 255
    mean, std = (np.array(json.loads(metadata[name]), np.float32)[:, None, None] for name in ("mean", "std"))
    (logits,) = session.run(None, {"input": ((pixels - mean) / std)[None]})
    module = build_module(lower(ARCH, 24, len(CLASSES)), seed=9)
    module.load_state_dict(load_file(folder / "weights.safetensors"))
    with torch.no_grad():
        expected = module.eval()(images.normalised(images.images[39:])).numpy()
    assert logits.shape == (1, len(CLASSES))
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.ptp(expected) > 0.01  # the comparison compares something


def test_exporting_again_replaces(images, weights, tmp_path):
    folder = tmp_path / "best"
    export(ARCH, weights, images, CLASSES, folder)
    before = (folder / "model.onnx").read_bytes()
    export(ARCH, weights, images, CLASSES, folder)
    assert (folder / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_model_that_differs_is_not_exported(images, weights, tmp_path, monkeypatch, factor):
    folded = finale.folded_weights

    def wrong(module):
        return {
            name: (weight * factor if name == "stem" else weight, bias)
            for name, (weight, bias) in folded(module).items()
        }

    monkeypatch.setattr(finale, "folded_weights", wrong)
    with pytest.raises(RuntimeError, match="exported model differs from torch by"):
        export(ARCH, weights, images, CLASSES, tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_baselines():
    check_baselines([])
    check_baselines(["mobilenet_v2", "mnasnet_a1"])
    for names in (["mobilenet_v2", "mobilenet_v2"], ["winner"]):
        with pytest.raises(UserError, match="names must differ from each other and from 'winner'"):
            check_baselines(names)
