from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from latency.latency import Latency
from nas.accuracy import wilson_interval
from nas.errors import UserError
from nas.finale import FinalTraining, check_baselines, export_winner
from nas.finalist import Finalist
from nas.run_folder import write_json
from nas.trained import find_trained, model_card
from nas.training import ImageSet
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from search_spaces.zoo import get

ARCH = parse_arch("stem_k3_s22_o8_hswish r1_k5_s22_e3_i8_o16_hse0.25_hswish head_o32_f24_hswish")


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


def test_a_training_is_done_where_what_is_kept_is_of_the_same_network(tmp_path):
    training = FinalTraining("winner", ARCH, 3, tmp_path)
    assert not training.is_done
    finalist = Finalist("winner", str(ARCH), 10, 20, num_test=360, num_correct=270, latency=None, training_s=1.5)
    write_json(training.path, asdict(finalist))
    assert training.is_done
    assert training.finalist() == finalist
    assert not replace(training, arch=get("mobilenet_v2")).is_done


def test_baselines():
    check_baselines([])
    check_baselines(["mobilenet_v2", "mnasnet_a1"])
    for names in (["mobilenet_v2", "mobilenet_v2"], ["winner"]):
        with pytest.raises(UserError, match="names must differ from each other and from 'winner'"):
            check_baselines(names)
    check_baselines(["googlenet", "mobilenet_v3_large@0.75"], {32, 224})
    for name, message in {
        "mobilenet_v1@0.5/160": "'mobilenet_v1@0.5/160': files are called after it; name a network without /RESOLUTION",
        str(get("googlenet")): "files are called after it",
        "inception_v3": "'inception_v3' at 32 px: .*: a window of 3x3 does not fit into ",
    }.items():
        with pytest.raises(UserError, match=message):
            check_baselines([name], {224, 32})


def test_the_winner_s_files(tmp_path):
    module = build_module(lower(ARCH, 24, 3), seed=2)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, tmp_path / "w.safetensors")
    images = ImageSet(torch.zeros(5, 3, 24, 24, dtype=torch.uint8), torch.zeros(5).long(), (0.4,) * 3, (0.2,) * 3)
    export_winner(ARCH, tmp_path / "w.safetensors", images, ("a", "b", "c"), tmp_path / "best")
    found = find_trained(tmp_path / "best")
    assert found.arch == ARCH
    stored = load_file(found.weights)
    assert all(torch.equal(stored[name], tensor) for name, tensor in module.state_dict().items())
    card = model_card(found.model)
    assert (card.resolution, card.class_names) == (24, ("a", "b", "c"))
    assert card.metadata["mean"] == "[0.4, 0.4, 0.4]"
