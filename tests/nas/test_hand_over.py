"""`nas export --int8`: models, what they are worth, and a card whose program runs; one real training, a device by formula."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from latency.meter_process import MeasuringError
from nas import opened_meter
from tests.latency.synthetic_runtime import SyntheticMeter

ARCH = "stem_k3_s22_o8_hswish r1_k3_s22_e2_i8_o16_hse0.25_hswish head_o32_d0"
CLASSES = ("dark", "middling", "bright")


def pixels(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Images whose brightness tells the class."""
    noise = rng.integers(0, 60, (len(labels), 16, 16, 3))
    return (noise + 80 * labels[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    rng, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 120), ("test", 30)):
        labels = np.arange(count) % len(CLASSES)
        arrays |= {f"x_{part}": pixels(rng, labels), f"y_{part}": labels}
    np.savez(home / "tiny.npz", **arrays, class_names=np.array(CLASSES))
    command = ("train", ARCH, "--data", "tiny.npz", "--epochs", "4", "--batch-size", "20", "--out", "run")
    subprocess.run([sys.executable, "-m", "nas.cli", *command], cwd=home, check=True, capture_output=True)
    return home


@pytest.fixture(autouse=True)
def _there(home, monkeypatch, tmp_path):
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(opened_meter, "MeterProcess", lambda core, deployment: SyntheticMeter(**deployment.to_dict()))


@pytest.fixture
def handed(tmp_path, nas):
    folder = tmp_path / "handed"
    code, out, err = nas("export", "run", "--int8", "--out", folder, "--json")
    assert (code, err) == (0, "")
    return folder, json.loads(out)


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_what_is_handed_over(handed):
    folder, document = handed
    files = ["arch.json", "model.onnx", "weights.safetensors", "model.int8.onnx", "README.md"]
    assert document["files"] == files
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    for name, figures in document["models"].items():
        assert figures["num_test"] == 30
        assert figures["test_accuracy"] == figures["num_right"] / 30 > 0.9
        assert figures["latency"]["status"] in ("ok", "wide")
        about = session(folder / name).get_modelmeta().custom_metadata_map
        assert about["test_accuracy"] == f"{figures['test_accuracy']:.4f} of 30"
        assert float(about["latency_ms"].split()[0]) == pytest.approx(figures["latency"]["latency_ms"], abs=1e-3)
        assert "ONNX Runtime" in about["latency_device"]
        assert json.loads(about["classes"]) == list(CLASSES)
    assert document["models"]["model.onnx"]["agreement"] is None
    assert document["models"]["model.int8.onnx"]["agreement"] > 0.9
    assert "of the largest logit" in session(folder / "model.onnx").get_modelmeta().custom_metadata_map["parity"]


def test_the_int8_model_is_one(handed):
    folder, _ = handed
    operators = {node.op_type for node in onnx.load(folder / "model.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert (folder / "model.int8.onnx").read_bytes() != (folder / "model.onnx").read_bytes()


def test_the_program_on_the_card_classifies_a_photo(handed):
    folder, document = handed
    card = (folder / "README.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len([line for line in program.splitlines() if line and "import" not in line]) == 6
    for label, name in enumerate(CLASSES):
        image = pixels(np.random.default_rng(1), np.array([label]))[0]
        beside = np.full((16, 40, 3), 255 * (label == 0), np.uint8)  # outside the square in the centre: misleads
        beside[:, 12:28] = image
        Image.fromarray(beside).save(folder / "photo.png")
        ran = subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True)
        assert ran.stdout.strip() == name
    accuracy = document["models"]["model.int8.onnx"]["test_accuracy"]
    assert f"| model.int8.onnx | {accuracy:.2%} of 30 |" in card


def test_a_network_with_weights_wants_data(home, tmp_path, nas):
    given = ("export", ARCH, "--weights", "run/best/weights.safetensors", "--resolution", 16)
    code, _, err = nas(*given, "--int8", "--out", tmp_path / "a")
    assert code == 2
    assert err == "nas: --int8: images must show what values occur in the network: give --data SPEC\n"
    code, out, _ = nas(*given, "--int8", "--data", "tiny.npz", "--no-measure", "--out", tmp_path / "a")
    assert code == 0
    assert "model.int8.onnx" in out
    assert "ms (" not in out
    assert json.loads(session(tmp_path / "a/model.onnx").get_modelmeta().custom_metadata_map["classes"]) == list(
        CLASSES
    )


def test_what_cannot_be_handed_over(tmp_path, nas):
    for options, message in (
        (("--int8", "--data", "digits"), "has 10 classes, the network 3; give the data that it was trained on"),
        (("--device", "local"), "--device local: says where to measure; add --measure"),
        (("--int8", "--device", "nowhere.yaml"), "--device nowhere.yaml: FileNotFoundError"),
    ):
        code, _, err = nas("export", "run", *options, "--out", tmp_path / "b")
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
        assert not (tmp_path / "b").exists()


def test_what_cannot_be_measured_leaves_nothing_behind(tmp_path, nas, monkeypatch):
    def no_device(core, deployment):
        raise MeasuringError("no core is free")

    monkeypatch.setattr(opened_meter, "MeterProcess", no_device)
    code, _, err = nas("export", "run", "--int8", "--out", tmp_path / "c")
    assert (code, err) == (2, "nas: measuring failed: no core is free; --no-measure exports without a latency\n")
    assert not (tmp_path / "c").exists()
