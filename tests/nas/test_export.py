import json
import math

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from nas import export as export_module
from nas.errors import UserError
from nas.export import MAX_DIFFERENCE, export, input_metadata
from nas.exportable import exportable, write_export
from nas.trained import find_trained, model_card
from search_spaces.arch_json import arch_from_json, arch_to_json
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from search_spaces.zoo import get

ARCH = parse_arch(
    "stem_k3_s22_o8_hswish r2_k5_s22_e3_i8_o16_hse0.25_hswish r1_k3_s11_e2_i16_o16_se0.5 head_o32_f24_hswish aux_b1_w0.3_o8"
)
CLASSES = ("none", "some", "many", "größer")
METADATA = input_metadata((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), CLASSES)
SAMPLE = torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def trained(arch=ARCH, resolution=24, num_classes=4):
    """Weights as training leaves them: nothing at its initial value, BN least of all; with auxiliary heads."""
    module = build_module(lower(arch, resolution, num_classes, training=True), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
        else:
            tensor.fill_(12)
    return module


@pytest.fixture
def best(tmp_path):
    export(ARCH, trained(), SAMPLE, METADATA, tmp_path / "best")
    return tmp_path / "best"


def logits(folder, image):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": image.numpy()})[0], session.get_modelmeta().custom_metadata_map


def test_export(tmp_path):
    module, folder = trained(), tmp_path / "deep" / "best"
    assert 0 <= export(ARCH, module, SAMPLE, METADATA, folder) <= MAX_DIFFERENCE
    assert sorted(path.name for path in folder.iterdir()) == ["arch.json", "model.onnx", "weights.safetensors"]
    assert arch_from_json(json.loads((folder / "arch.json").read_text())) == ARCH
    found, metadata = logits(folder, SAMPLE[7:])
    assert parse_arch(metadata["arch"]) == ARCH
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert json.loads(metadata["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(metadata["std"]) == [0.2, 0.3, 0.25]
    assert metadata["input"] == "RGB in [0, 1], minus mean, over std, channels first"

    # a user who has only the files, against torch with the saved weights; those of the auxiliary head are among them
    again = build_module(lower(ARCH, 24, len(CLASSES), training=True), seed=9)
    again.load_state_dict(load_file(folder / "weights.safetensors"))
    with torch.no_grad():
        expected = again.eval()(SAMPLE[7:]).numpy()
    assert found.shape == (1, len(CLASSES))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.ptp(expected) > 0.01  # the comparison compares something
    assert b"aux1" not in (folder / "model.onnx").read_bytes().replace(str(ARCH).encode(), b"")


def test_exporting_again_replaces(best):
    before = (best / "model.onnx").read_bytes()
    export(ARCH, trained(), SAMPLE, METADATA, best)
    assert (best / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_model_that_differs_is_not_exported(tmp_path, monkeypatch, factor):
    folded = export_module.folded_weights

    def wrong(module):
        return {
            name: (weight * factor if name == "stem" else weight, bias)
            for name, (weight, bias) in folded(module).items()
        }

    monkeypatch.setattr(export_module, "folded_weights", wrong)
    with pytest.raises(RuntimeError, match="exported model differs from torch by"):
        export(ARCH, trained(), SAMPLE, METADATA, tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_what_was_trained(best, tmp_path):
    (folder, model, weights) = (best, best / "model.onnx", best / "weights.safetensors")
    for path in (tmp_path, best, weights):  # a run folder, an exported one, a file
        found = find_trained(path)
        assert (found.arch, found.weights, found.model) == (ARCH, weights, model)
    card = model_card(model)
    assert (card.resolution, card.class_names) == (24, CLASSES)
    model.unlink()
    assert find_trained(folder).model is None


def refusal(*arguments):
    with pytest.raises(UserError) as error:
        exportable(*arguments)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def test_what_was_not_trained(tmp_path):
    assert "not a run folder, an exported folder, or a weights file" in refusal(str(tmp_path), None, None, None, False)
    (tmp_path / "config.yaml").write_text("")
    assert "this run has no trained network yet" in refusal(str(tmp_path), None, None, None, False)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    assert "no arch.json beside it" in refusal(str(tmp_path), None, None, None, False)


def test_exporting_a_run_again(best, tmp_path):
    """At its own resolution the same model; at another one the same weights."""
    found = exportable(str(tmp_path), None, None, None, False)
    assert (found.resolution, dict(found.metadata)) == (24, METADATA)
    document = write_export(found, tmp_path / "again", "nas")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (best / "model.onnx").read_bytes()
    assert (
        load_file(tmp_path / "again" / "weights.safetensors").keys() == load_file(best / "weights.safetensors").keys()
    )
    assert document["num_classes"] == len(CLASSES)
    assert document["onnx_max_relative_difference"] <= MAX_DIFFERENCE

    write_export(exportable(str(tmp_path), None, None, 40, False), tmp_path / "larger", "nas")
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        expected = trained().eval()(image).numpy()
    found_logits, metadata = logits(tmp_path / "larger", image)
    assert np.abs(found_logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert json.loads(metadata["classes"]) == list(CLASSES)


def test_weights_of_a_network(best, tmp_path):
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(arch_to_json(ARCH)))
    weights = best / "weights.safetensors"
    found = exportable(str(path), weights, None, 24, False)
    assert (found.arch, found.module.graph.ops[-1].shape[0], dict(found.metadata)) == (ARCH, len(CLASSES), {})
    assert f"{weights}, names of nas" == found.origin
    message = refusal(str(path), weights, 7, 24, False)
    assert message == f"--num-classes 7: {weights} has weights for 4"
    assert "not weights of this network" in refusal("mnasnet_small", weights, None, None, False)


def test_a_library_s_names(tmp_path):
    module = trained(get("mobilenet_v3_small"), resolution=32, num_classes=5)
    export(get("mobilenet_v3_small"), module, SAMPLE, {}, tmp_path / "theirs", "torchvision")
    weights = tmp_path / "theirs" / "weights.safetensors"
    assert "features.0.0.weight" in load_file(weights)
    found = exportable("mobilenet_v3_small", weights, None, 32, False)
    assert found.origin == f"{weights}, names of torchvision"
    for name, tensor in found.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, module.state_dict()[name])
    with pytest.raises(UserError, match="convention 'torchvision'"):
        write_export(exportable("mnasnet_small", None, 5, 32, True), tmp_path / "none", "torchvision")


def test_networks_without_weights(tmp_path):
    message = refusal("mnasnet_small", None, None, None, False)
    assert message == (
        "mnasnet_small: no weights to export; give --weights FILE, train some with nas train mnasnet_small, or ask for "
        "--random-weights"
    )
    assert "only one of them" in refusal("mnasnet_small", tmp_path / "w.safetensors", None, None, True)
    assert "leave out --weights" in refusal(str(tmp_path), None, None, None, True)
    found = exportable("mobilenet_v1@0.25/128", None, None, None, True)
    assert (found.name, found.resolution, found.module.graph.ops[-1].shape[0]) == ("mobilenet_v1@0.25/128", 128, 1000)
    assert refusal("inception_v3", None, None, 40, True).startswith("--resolution 40: ")


def test_an_existing_folder_is_not_written_to(tmp_path):
    found = exportable("mnasnet_small", None, 4, 32, True)
    with pytest.raises(UserError, match="exists; choose another folder with --out"):
        write_export(found, tmp_path, "nas")
    assert list(tmp_path.iterdir()) == []
