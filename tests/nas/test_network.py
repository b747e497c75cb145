import json
from pathlib import Path

import pytest
from hypothesis import given

from nas.errors import UserError
from nas.network import network_name, resolve, resolve_network, squeezed
from search_spaces.arch_json import arch_to_json
from search_spaces.arch_string import parse_arch
from search_spaces.edits import with_squeeze
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY, archs

ARCH = "r1_k3_s11_e1_i32_o16_noskip r2_k5_s22_e6_i16_o24_se0.25"


def refusal(text: str) -> str:
    with pytest.raises(UserError) as error:
        resolve_network(text)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo(name):
    assert resolve_network(name) is get(name)
    assert network_name(get(name)) == network_name(resolve_network(str(get(name)))) == name


@PROPERTY
@given(archs())
def test_strings_and_files(tmp_path_factory, arch):
    path = tmp_path_factory.mktemp("arch") / "arch.json"
    path.write_text(json.dumps(arch_to_json(arch)))
    assert resolve_network(str(arch)) == resolve_network(str(path)) == arch
    assert network_name(arch) == str(arch)


def test_a_file_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("winner").write_text(json.dumps(arch_to_json(get("mnasnet_a1"))))
    assert resolve_network("winner") == get("mnasnet_a1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_network("~/winner") == get("mnasnet_a1")


@pytest.mark.parametrize("start", ["nonorm ", "norm_e0.01 ", "stem_k3_s22_o32 ", "maxpool_k3_s22 ", "lrn ", "lrn_k3 "])
def test_strings_may_begin_with_any_part(start):
    text = start + "branches_i32(k1_o8|k1_o8,(k1x3_o8|k3x1_o8)) head_noconv aux_b1_w0.3_o8"
    assert resolve_network(text) == parse_arch(text)
    assert resolve_network(text.removeprefix(start)) == parse_arch(text.removeprefix(start))


@pytest.mark.parametrize(
    ("text", "name", "resolution"),
    [
        ("mobilenet_v1@0.5/160", "mobilenet_v1@0.5/160", 160),
        ("mobilenet_v1@1/224", "mobilenet_v1", 224),
        ("inception_v3", "inception_v3", 299),
        (ARCH, ARCH, 224),
    ],
)
def test_name_and_resolution(text, name, resolution):
    network = resolve(text)
    assert (network.name, network.resolution) == (name, resolution)
    assert str(network.arch) == str(resolve_network(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "resnet50@0.5",
            "resnet50 has no width multiplier; those with one: mnasnet_a1, mnasnet_b1, mnasnet_small, mobilenet_v1",
        ),
        ("mobilenet_v2@0", "width multiplier 0: must lie in 0.05 to 4"),
        ("mobilenet_v2@9", "width multiplier 9: must lie in 0.05 to 4"),
        ("mobilenet_v2@x", "'mobilenet_v2@x': not NAME[@WIDTH][/RESOLUTION] of the zoo"),
        ("mobilenet_v2/0", "'mobilenet_v2/0': not NAME[@WIDTH][/RESOLUTION] of the zoo"),
    ],
)
def test_variants_that_do_not_exist(text, message):
    assert refusal(text).startswith(message)


def test_squeeze_and_excitation_on_any_network():
    network = resolve("mobilenet_v2")
    assert squeezed(network, None) is network
    with_se = squeezed(network, 0.25)
    assert with_se.name == "mobilenet_v2 + SE 0.25"
    assert with_se.arch == with_squeeze(network.arch, 0.25)
    with pytest.raises(UserError, match=r"--se 2: squeeze-and-excitation ratio 2.0: must lie in \(0, 1\]"):
        squeezed(network, 2)


@pytest.mark.parametrize("text", ["", "nonsense", "mobilenet_v9", "~no-such-user/x", "x" * 300, "ö" * 200])
def test_neither_of_the_three(text):
    assert "mobilenet_v2" in refusal(text)


def test_nonsense_lists_what_there_is():
    assert refusal("nonsense") == (
        "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, an architecture string, or a JSON file; "
        f"the zoo has {', '.join(ZOO)}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet_50", "architecture: unknown token 'resnet' in 'resnet_50'; allowed: rN, kN,"),
        (ARCH.replace("k5", "k4"), "architecture: kernel 4: must be odd and positive"),
        (ARCH.replace("_k5", ""), "architecture: missing token k in 'r2_s22_e6_i16_o24_se0.25'; allowed: rN, kN,"),
        (ARCH.replace("e6", "q6"), "architecture: unknown token 'q6'"),
        (ARCH.replace("i16", "i24"), "architecture: "),
        ("stem_k3_s22_o8", "architecture: "),
        ("r1_k3_s11_e1_i32_o16\nr1_k3", "architecture: missing token"),
    ],
)
def test_strings_that_are_wrong(text, message):
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "not an architecture: expected a JSON object with format 'nas-arch'"),
        ('{"format": "nas-arch", "version": 1}', "architecture format version 1: this program reads version 2"),
        ('{"format": "nas-arch", "version": 2}', "missing keys ['aux', 'blocks', 'head', 'norm', 'stem']"),
    ],
)
def test_files_that_are_wrong(tmp_path, content, message):
    path = tmp_path / "arch.json"
    if content is not None:
        path.write_text(content)
    found = refusal(str(path))
    assert found.startswith(str(path))
    assert message in found


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "arch.json"
    path.write_bytes(b"\xff\xfe\0")
    assert str(path) in refusal(str(path))
    (tmp_path / "folder.json").mkdir()
    assert refusal(str(tmp_path / "folder.json")).endswith("Is a directory")


WRONG = [
    (key, value)
    for key in ("norm", "stem", "blocks", "head", "aux")
    for value in (None, 3, "x", [], [3], {}, {"channels": "x"})
    if (key, value) != ("aux", [])  # as it is
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_fields_of_any_type(tmp_path, key, value):
    path = tmp_path / "arch.json"
    document = arch_to_json(get("mnasnet_a1"))
    path.write_text(json.dumps({**document, key: value}))
    assert refusal(str(path)).startswith(str(path))
