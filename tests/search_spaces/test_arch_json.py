"""The JSON form: round trips through text, and refusals that say where."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given

from search_spaces import zoo
from search_spaces.arch_json import arch_from_json, arch_to_json
from tests.strategies import PROPERTY, archs


@pytest.fixture
def document():
    return arch_to_json(zoo.get("mnasnet_a1"))


MODULE = 6  # of the blocks of Inception-V3, the first that has branches


@pytest.fixture
def inception():
    return arch_to_json(zoo.get("inception_v3"))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_networks_of_the_zoo(name):
    assert arch_from_json(json.loads(json.dumps(arch_to_json(zoo.get(name))))) == zoo.get(name)


def test_form_of_a_module_and_of_an_auxiliary_head(inception):
    module = inception["blocks"][MODULE]
    assert (module["type"], module["in_channels"], module["se"], module["activation"]) == (
        "branches",
        192,
        None,
        "relu",
    )
    assert module["branches"][0] == [{"type": "conv", "kernel": [1, 1], "channels": 64, "stride": 1, "padding": "same"}]
    assert [step["type"] for step in module["branches"][3]] == ["pool", "conv"]
    fork = inception["blocks"][-1]["branches"][1][-1]
    assert fork["type"] == "fork"
    assert [branch[0]["kernel"] for branch in fork["branches"]] == [[1, 3], [3, 1]]
    (aux,) = inception["aux"]
    assert aux == {"after": 14, "weight": 0.4, "channels": 128, "final_channels": 768, "hidden": None, "dropout": 0.0}
    assert inception["norm"] == {"epsilon": 0.001}
    assert arch_to_json(zoo.get("googlenet"))["norm"] is None


@PROPERTY
@given(archs())
def test_round_trip_through_text(arch):
    document = arch_to_json(arch)
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document  # nothing but what JSON has
    assert arch_from_json(json.loads(text)) == arch
    assert document["arch"] == str(arch)


def test_the_string_form_may_be_left_out_but_not_disagree(document):
    document["blocks"][0]["kernel"] = 5
    with pytest.raises(ValueError, match=r"arch: 'r1_k3.*disagrees with the fields, which say 'r1_k5"):
        arch_from_json(document)
    del document["arch"]
    assert arch_from_json(document).blocks[0].kernel == 5


@pytest.mark.parametrize("other", [None, 3, "r1_k3_s11_e6_i32_o16", [], {}, {"format": "onnx", "version": 1}])
def test_not_an_architecture(other):
    with pytest.raises(ValueError, match="not an architecture: expected a JSON object with format 'nas-arch'"):
        arch_from_json(other)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, True])
def test_other_versions(document, version):
    with pytest.raises(ValueError, match=f"version {version!r}: this program reads version 2"):
        arch_from_json(document | {"version": version})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # keys
        (("blocks", 1, "dilation"), 2, r"block 2: unknown keys \['dilation'\], missing keys \[\]"),
        (("blocks", 2, "se", "gate"), "sigmoid", r"block 3.se: unknown keys \['gate'\]"),
        (("stem", "norm"), True, r"stem: unknown keys \['norm'\]"),
        (("width",), 1.0, r"architecture: unknown keys \['width'\]"),
        # structure
        (("blocks",), {}, "blocks: expected a list, got dict"),
        (("blocks",), "r1_k3", "blocks: expected a list, got str"),
        (("blocks",), [], "at least one block"),
        (("blocks", 0), "r1_k3_s11_e1_i32_o16", "block 1: expected an object, got str"),
        (("blocks", 0, "se"), 0.25, "block 1.se: expected an object, got float"),
        (("blocks", 0, "se"), False, "block 1.se: expected an object, got bool"),
        (("head",), None, "head: expected an object, got NoneType"),
        (("stem",), [32, 3, 2, "relu"], "stem: expected an object, got list"),
        # types
        (("blocks", 3, "kernel"), "3", "block 4: kernel '3'"),
        (("blocks", 3, "kernel"), 3.5, "block 4: kernel 3.5"),
        (("blocks", 3, "kernel"), 3.0, "block 4: kernel 3.0"),
        (("blocks", 3, "kernel"), True, "block 4: kernel True"),
        (("blocks", 3, "kernel"), None, "block 4: kernel None"),
        (("blocks", 3, "stride"), [2, 2], r"block 4: stride \[2, 2\]"),
        (("blocks", 3, "repeats"), "4", "block 4: repeats '4'"),
        (("blocks", 3, "out_channels"), 80.5, "block 4: out_channels 80.5"),
        (("blocks", 3, "expand_ratio"), True, "block 4: expand_ratio True"),
        (("blocks", 3, "expand_channels"), "200", "block 4: expand_channels '200'"),
        (("blocks", 3, "skip"), ["identity"], r"block 4: skip \['identity'\]"),
        (("blocks", 3, "skip"), None, "block 4: skip None"),
        (("blocks", 3, "activation"), {}, "block 4: activation {}"),
        (("blocks", 2, "se", "ratio"), "0.25", "block 3.se: squeeze-and-excitation ratio '0.25'"),
        (("blocks", 2, "se", "ratio"), True, "block 3.se: squeeze-and-excitation ratio True"),
        (("blocks", 2, "se", "rule"), None, "block 3.se: squeeze rule None"),
        (("stem", "channels"), "32", "stem: stem channels '32'"),
        (("stem", "stride"), 2.0, "stem: stem stride 2.0"),
        (("head", "hidden"), False, "head: hidden width False"),
        (("head", "dropout"), "0.2", "head: dropout '0.2'"),
        (("head", "dropout"), None, "head: dropout None"),
        (("arch",), 3, "arch: 3 disagrees"),
        # values
        (("blocks", 3, "kernel"), 4, "block 4: kernel 4"),
        (("blocks", 3, "expand_channels"), 200, "block 4: expand_ratio and expand_channels exclude each other"),
        (("blocks", 3, "in_channels"), 48, "block 4 takes i48, but receives 40"),
    ],
)
def test_refusals_say_where(document, path, value, message):
    assert_refused(document, path, value, message)


def assert_refused(document, path, value, message):
    document = copy.deepcopy(document)
    *parents, leaf = path
    target = document
    for step in parents:
        target = target[step]
    target[leaf] = value
    with pytest.raises(ValueError, match=message):
        arch_from_json(document)


STEP = ("blocks", MODULE, "branches", 0, 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("blocks", 0, "type"), "bloc", "block 1: type 'bloc'; allowed are block, pool, lrn, branches"),
        (("blocks", 0, "type"), None, "block 1: type None"),
        (("blocks", 0, "type"), [], r"block 1: type \[\]"),
        (("blocks", 0, "type"), {}, "block 1: type {}"),
        (("blocks", 0, "type"), "pool", "block 1: unknown keys .*missing keys \\['counts_padding', 'kind'\\]"),
        (("blocks", 0, "branches"), [], r"block 1: unknown keys \['branches'\]"),
        (("blocks", 2, "kind"), "min", "block 3: pool 'min': allowed are max, average"),
        (("blocks", 2, "kernel"), 1, "block 3: pool kernel 1: must be at least 2"),
        (("blocks", 2, "padding"), "full", "block 3: pool padding 'full': allowed are same, valid, ceil"),
        (("blocks", MODULE, "branches"), None, "block 7.branches: expected a list, got NoneType"),
        (("blocks", MODULE, "branches"), [], "block 7: a module needs at least two branches"),
        (("blocks", MODULE, "branches", 0), [], "block 7: a branch needs at least one step"),
        (("blocks", MODULE, "branches", 0), {}, "block 7.branch 1: expected a list, got dict"),
        (STEP, "k1_o64", "block 7.branch 1.step 1: expected an object, got str"),
        ((*STEP, "type"), "block", "block 7.branch 1.step 1: type 'block'; allowed are conv, pool, fork"),
        ((*STEP, "type"), [], r"block 7.branch 1.step 1: type \[\]"),
        ((*STEP, "kernel"), 1, "block 7.branch 1.step 1.kernel: expected a list, got int"),
        ((*STEP, "kernel"), [1], "block 7.branch 1.step 1: kernel .*must be \\(height, width\\)"),
        ((*STEP, "kernel"), [1, 2], "block 7.branch 1.step 1: branch kernel 2: must be odd"),
        ((*STEP, "channels"), 64.0, "block 7.branch 1.step 1: branch channels 64.0"),
        (("blocks", 15, "branches", 1, 1, "branches"), [[]], "block 16.branch 2.step 2: a module needs at least two"),
        (("norm",), 0.001, "norm: expected an object, got float"),
        (("norm", "epsilon"), 2, r"norm: norm epsilon 2.0: must lie in \(0, 1\)"),
        (("norm", "momentum"), 0.1, r"norm: unknown keys \['momentum'\]"),
        (("aux",), None, "aux: expected a list, got NoneType"),
        (("aux", 0), 14, "aux 1: expected an object, got int"),
        (("aux", 0, "weight"), "0.4", "aux 1: auxiliary weight '0.4': must be a number"),
        (("aux", 0, "after"), 18, "an auxiliary head reads block 18 of 17"),
    ],
)
def test_refusals_of_modules_norm_and_auxiliary_heads(inception, path, value, message):
    assert_refused(inception, path, value, message)


@pytest.mark.parametrize("key", ["norm", "stem", "blocks", "head", "aux"])
def test_missing_part(document, key):
    del document[key]
    with pytest.raises(ValueError, match=rf"architecture: unknown keys \[\], missing keys \['{key}'\]"):
        arch_from_json(document)


def test_missing_field(document):
    del document["blocks"][4]["se"]
    with pytest.raises(ValueError, match=r"block 5: unknown keys \[\], missing keys \['se'\]; expected \['kernel'"):
        arch_from_json(document)
