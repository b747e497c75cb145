import json
from pathlib import Path

import pytest
from hypothesis import given

from nas.errors import UserError
from nas.network import network_name, resolve_network
from search_spaces.arch_json import arch_to_json
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


@pytest.mark.parametrize("text", ["", "nonsense", "mobilenet_v9", "~no-such-user/x", "x" * 300, "ö" * 200])
def test_neither_of_the_three(text):
    assert "mobilenet_v2" in refusal(text)


def test_nonsense_lists_what_there_is():
    assert refusal("nonsense") == (
        "'nonsense': neither a network (mobilenet_v2, mnasnet_a1, mnasnet_b1, mobilenet_v3_large, mobilenet_v3_small), "
        "nor an architecture string, nor a JSON file"
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
        ('{"format": "nas-arch", "version": 2}', "architecture format version 2: this program reads version 1"),
        ('{"format": "nas-arch", "version": 1}', "missing keys ['blocks', 'head', 'stem']"),
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


@pytest.mark.parametrize("key", ["stem", "blocks", "head"])
@pytest.mark.parametrize("value", [None, 3, "x", [], [3], {}, {"channels": "x"}])
def test_fields_of_any_type(tmp_path, key, value):
    path = tmp_path / "arch.json"
    document = arch_to_json(get("mnasnet_a1"))
    path.write_text(json.dumps({**document, key: value}))
    assert refusal(str(path)).startswith(str(path))
