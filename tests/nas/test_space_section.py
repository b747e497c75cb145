"""The key `space` of a recipe."""

from __future__ import annotations

import pytest

from nas.config import load_config, parse_config
from nas.errors import UserError
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET

# Rows of Accel-NASBench (arXiv 2404.08005): expansion, kernel, layers, SE of each stage; millions of parameters
ROWS = [
    ("6310 4520 6330 6530 6520 1320 1320", 2.50116),
    ("6310 1530 6320 6310 4320 6510 4520", 3.44436),
]


def test_a_name():
    assert parse_config("space: mnasnet", "r").search_space is MNASNET


def test_scalars_and_lists():
    text = "space: {name: two, stages: [{filters: 16, kernel: [3, 5]}, {filters: [8, 16], stride: 2, se: 0.25}]}"
    config = parse_config(text, "r")
    assert [c.name for c in config.search_space.choices] == ["b1.kernel", "b2.filters"]
    assert config.search_space.name == "two"
    assert parse_config(config.dump(), "dump") == config


def test_accel_nasbench_is_a_recipe_and_its_networks_have_the_printed_parameters():
    space = load_config("accel_nasbench").search_space
    assert space.size == (3 * 2 * 3 * 2) ** 6 * (3 * 2 * 4 * 2)
    for row, params_m in ROWS:
        choices = {}
        for number, digits in enumerate(row.split(), start=1):
            expand, kernel, layers, se = map(int, digits)
            options = {"expand": expand, "kernel": kernel, "layers": layers, "se": 0.25 * se}
            choices |= {f"b{number}.{decision}": option for decision, option in options.items()}
        assert count(lower(space.decode(choices), 224, 1000)).params == round(params_m * 1e6)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("3", "space = 3: allowed: mnasnet, mobilenet_v3, or a section with stages"),
        ("[1]", "space = [1]: allowed: mnasnet, mobilenet_v3, or a section with stages"),
        ("{stages: []}", "space.stages = []: list should have at least 1 item"),
        ("{stages: 3}", "space.stages = 3: input should be a valid list"),
        (
            "{stages: [3]}",
            "space.stages.0 = 3: expected keys and values: filters, kernel, expand, layers, se, skip, stride",
        ),
        ("{stages: [{kernel: 3}]}", "space.stages.0.filters = {'kernel': 3}: field required"),
        ("{stages: [{filters: 16, kernal: 3}]}", "unknown key 'space.stages.0.kernal'; did you mean 'kernel'?"),
        ("{stages: [{filters: [8, 0]}]}", "space.stages.0.filters.1 = 0: input should be greater than or equal to 1"),
        (
            "{stages: [{filters: 8, se: [0, 1.5]}]}",
            "space.stages.0.se.1 = 1.5: input should be less than or equal to 1",
        ),
        ("{stages: [{filters: 8, kernel: [3, 4]}]}", "b1.kernel: kernel 4: must be odd and positive"),
        ("{stages: [{filters: 8}]}", "space 'stages' is one network: a list of options somewhere makes it a choice"),
        ("{stages: [{filters: 8, stride: 3}]}", "space.stages.0.stride = 3: input should be 1 or 2"),
    ],
)
def test_errors_teach(section, message):
    with pytest.raises(UserError) as error:
        parse_config(f"space: {section}", "r.yaml")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_long_value_is_cut_in_a_message():
    stages = ", ".join(["{filters: 8, kernel: 3}"] * 40)
    with pytest.raises(UserError) as error:
        parse_config(f"space: {{stages: [{stages}]}}", "r.yaml")
    assert len(str(error.value)) < 250
