from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nas.config import Config, find_recipe, load_config, parse_config, parse_recipe, shipped_recipes
from nas.errors import UserError
from nas.objective import Objective, Target
from nas.reproduction.reproduce_config import ReproduceConfig, load_reproduce_config
from tests.strategies import PROPERTY

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def refusal(text: str, *assignments: str) -> str:
    """The message with which a recipe is refused; always one line."""
    with pytest.raises(UserError) as error:
        parse_config(text, "r.yaml", list(assignments))
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def test_shipped_recipes_are_those_in_the_folder():
    assert list(shipped_recipes()) == sorted(path.name for path in EXPERIMENTS.glob("*.yaml"))
    assert {"mnas_large.yaml", "mnas_small.yaml"} <= shipped_recipes().keys()


SEARCHES = sorted(path.name for path in EXPERIMENTS.glob("*.yaml") if not path.name.startswith("mobilenet_v3"))
REPRODUCTIONS = sorted(path.name for path in EXPERIMENTS.glob("mobilenet_v3*.yaml"))


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_shipped_reproductions_load_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_reproduce_config(name, [])
    assert load_reproduce_config(name.removesuffix(".yaml"), []) == config
    assert parse_recipe(ReproduceConfig, config.dump(), "dump", []) == config
    with pytest.raises(UserError, match="a recipe of nas reproduce"):
        load_config(name)
    with pytest.raises(UserError, match="a recipe of nas search"):
        load_reproduce_config("mnas_large", [])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search.latency.devices=[{name: pi, ray: pis}]", "of the Ray cluster; NetAdapt measures on this machine or"),
        ("search.latency.devices=[{name: a}, {name: b}]", "names 2: a, b; widths are adapted to one"),
        ("search.evaluator.name=zero_cost", "a reproduction trains"),
        ("search.data.num_train=100", "leave out num_train"),
        ("redesign.edits=[{edit: paint}]", "unknown edit 'paint'; known: last_stage"),
        ("comparison.networks=[]", "the one to beat"),
        ("adapt.schedule=fast", "schedule"),
        ("target=soon", "write milliseconds"),
    ],
)
def test_what_cannot_be_reproduced(assignment, message):
    with pytest.raises(UserError, match=message) as error:
        load_reproduce_config("mobilenet_v3_large", [assignment])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SEARCHES)
def test_shipped_recipes_load_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(name)
    assert load_config(name.removesuffix(".yaml")) == config
    assert parse_config(config.dump(), "dump") == config
    # a recipe says what it sets: no key of it is a mere default of the program under another spelling
    assert set(yaml.safe_load(find_recipe(name).read_text())) <= set(Config.model_fields)


def test_a_file_goes_before_the_shipped_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mnas_large.yaml").write_text("trials: 7")
    assert find_recipe("mnas_large.yaml") == Path("mnas_large.yaml")
    assert load_config("mnas_large.yaml").trials == 7
    assert load_config("mnas_large").trials > 7


def test_a_recipe_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("seed: 3")
    assert load_config("~/mine.yaml").seed == 3


@pytest.mark.parametrize("name", ["nope.yaml", "", "/nowhere/mnas_large.yaml", "~no-such-user/x.yaml", "x" * 300])
def test_a_missing_recipe_lists_the_shipped_ones(name):
    with pytest.raises(
        UserError,
        match=r"no such file, and none of the shipped ones: accel_nasbench.yaml, mnas_large.yaml, mnas_small.yaml",
    ):
        load_config(name)


def test_a_recipe_that_is_no_text(tmp_path):
    path = tmp_path / "photo.yaml"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"photo.yaml: cannot be read: .*can't decode byte 0xff") as error:
        load_config(str(path))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "{}", "---\n"])
def test_an_empty_recipe_is_all_defaults(text):
    assert parse_config(text, "r.yaml") == Config()


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().trials = 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- trials", "r.yaml: expected keys and values, got list"),
        ("[]", "r.yaml: expected keys and values, got list"),
        ("false", "r.yaml: expected keys and values, got bool"),
        ("trials 3", "r.yaml: expected keys and values, got str"),
        ("seed: 1\ntrials: [", "r.yaml: not YAML: line 2: expected the node content, but found '<stream end>'"),
        ("seed: 1\n\tx: 2", "r.yaml: not YAML: line 2: found character '\\t' that cannot start any token"),
        ("\0", "r.yaml: not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("seed: 2024-13-45", "r.yaml: not YAML: month must be in 1..12"),
        ("seed: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("? [seed]\n: 1", "r.yaml: not YAML: line 1: found unhashable key"),
        ("seed: 1\ntrials: 3\nseed: 2", "r.yaml: not YAML: line 3: key 'seed' twice"),
        ("data:\n  source: a\n  source: b", "r.yaml: not YAML: line 3: key 'source' twice"),
        ("1: 2", "r.yaml: 1 = 1: keys should be strings"),
    ],
)
def test_not_a_recipe(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "objective: {targt: 3ms}",
            "unknown key 'objective.targt'; did you mean 'target'? allowed: target, form, alpha, beta",
        ),
        (
            "evaluator: {training: {epoch: 3}}",
            "unknown key 'evaluator.training.epoch'; did you mean 'epochs'? allowed: epochs,",
        ),
        ("final: {training: {lr: 3}}", "unknown key 'final.training.lr'; allowed: epochs, batch_size, learning_rate,"),
        ("trails: 3", "unknown key 'trails'; did you mean 'trials'? allowed: space, seed, trials,"),
        ('"tri\\nals": 3', r"unknown key 'tri\nals'; did you mean 'trials'?"),
    ],
)
def test_unknown_keys(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trials: true", "trials = True: input should be a valid integer"),
        ("trials: 1.0", "trials = 1.0: input should be a valid integer"),
        ("trials: '3'", "trials = '3': input should be a valid integer"),
        ("trials:", "trials = None: input should be a valid integer"),
        ("objective: {target: 3.5}", "objective.target = 3.5: input should be a valid string"),
        ("evaluator: {training: {flip: 1}}", "evaluator.training.flip = 1: input should be a valid boolean"),
        ("data: 5", "data = 5: expected keys and values: source, resolution, holdout, num_train, num_test"),
        ("final: [1]", "final = [1]: expected keys and values: baselines, training"),
        ("final: {training: 3}", "final.training = 3: expected keys and values: epochs,"),
        ("final: {baselines: mobilenet_v2}", "final.baselines = 'mobilenet_v2': input should be a valid list"),
        ("final: {baselines: [1]}", "final.baselines.0 = 1: input should be a valid string"),
        ("controller: {options: [1]}", "controller.options = [1]: input should be a valid dictionary"),
    ],
)
def test_wrong_types(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: -1", "seed = -1: input should be greater than or equal to 0"),
        ("trials: 0", "trials = 0: input should be greater than or equal to 1"),
        ("data: {holdout: 1}", "data.holdout = 1: input should be less than 1"),
        ("data: {holdout: 0.0}", "data.holdout = 0.0: input should be greater than 0"),
        ("data: {resolution: 7}", "data.resolution = 7: input should be greater than or equal to 8"),
        ("space: imagenet", "space = 'imagenet': allowed: mnasnet, mobilenet_v3, or a section with stages"),
        (
            "latency: {name: guess}",
            "latency.name = 'guess': input should be 'measure', 'table', 'hybrid' or 'recorded'",
        ),
        ("objective: {alpha: 0.1}", "objective.alpha = 0.1: input should be less than or equal to 0"),
        ("objective: {target: fast}", "objective.target = 'fast': target 'fast': write milliseconds (3.5ms)"),
        ("objective: {target: 0ms}", "objective.target = '0ms': target '0ms': must be positive"),
        ("objective: {target: 1.0x}", "objective.target = '1.0x': target '1.0x': write milliseconds"),
        ('objective: {target: "1\\nms ms"}', r"objective.target = '1\nms ms'"),
    ],
)
def test_impossible_values(text, message):
    assert message in refusal(text)


def numbers(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all keys that take a float."""
    found = []
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        if float in kinds:
            found.append(prefix + name)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += numbers(kind, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize("key", numbers(Config))
def test_numbers_are_finite(key, value):
    assert f"{key} = " in refusal("", f"{key}={value}")


def test_the_list_of_numbers_is_not_empty():
    assert {"objective.alpha", "evaluator.training.learning_rate", "final.training.learning_rate"} <= set(
        numbers(Config)
    )


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1.5E+2", 150.0), (".5e0", 0.5), ("0.0001", 1e-4), ("2", 2.0)]
)
def test_numbers_as_people_write_them(text, value):
    # YAML 1.1 takes 1e-4 for a string
    assert (
        parse_config(f"evaluator: {{training: {{weight_decay: {text}}}}}", "r.yaml").evaluator.training.weight_decay
        == value
    )
    assert parse_config("", "r.yaml", [f"latency.budget_s={text}"]).latency.budget_s == value


def test_assignments():
    config = parse_config(
        "seed: 1\nobjective: {alpha: -0.1}",
        "r.yaml",
        [
            "seed=2",
            "seed=3",
            "objective.target=3.5ms",
            "data.source=a=b",
            "final=null",
            "controller.options.preset=paper",
        ],
    )
    assert config.seed == 3  # the last one counts
    assert config.objective.target == "3.5ms"
    assert config.objective.alpha == -0.1  # what is beside it stays
    assert config.data.source == "a=b"
    assert config.final is None
    assert config.controller.options == {"preset": "paper"}


def test_assignments_take_whole_sections_and_lists():
    config = parse_config("", "r.yaml", ["objective={target: 2ms, beta: -1}", "final.baselines=[mnasnet_a1]"])
    assert (config.objective.target, config.objective.beta) == ("2ms", -1)
    assert config.final is not None
    assert config.final.baselines == ["mnasnet_a1"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("trials", "--set trials: write key=value, for example --set objective.alpha=-0.15"),
        ("=3", "--set =3: write key=value"),
        ("", "--set : write key=value"),
        ("trials=", "r.yaml: trials = None: input should be a valid integer"),
        ("trials={", "--set trials={: '{' is not YAML"),
        ("data.source=2024-13-45", "is not YAML"),
        ("data.source=a: b: c", "is not YAML"),
        ("seed.x=1", "--set seed.x=1: 'seed' is not a section"),
        ("final.training.epochs=2", "--set final.training.epochs=2: 'final' is not a section"),
        ("data..source=1", "unknown key 'data.'"),
        ("tirals=3", "r.yaml: unknown key 'tirals'; did you mean 'trials'?"),
    ],
)
def test_assignments_that_are_wrong(assignment, message):
    assert message in refusal("seed: 1\nfinal: null", assignment)


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=12)
VALUES = {
    "seed": st.integers(0, 10**12),
    "trials": st.integers(1, 10**6),
    "concurrency": st.none() | st.integers(1, 64),
    "data.source": TEXTS
    | st.sampled_from(("1e5", "null", "yes", "2020-01-01", "1_0", "~", "a: b", "#x", "0x1f", ".5e-3")),
    "data.holdout": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "data.num_train": st.none() | st.integers(1, 10**6),
    "evaluator.name": st.sampled_from(("train", "recorded")),
    "evaluator.training.learning_rate": st.floats(0, 1e30, exclude_min=True),
    "evaluator.training.flip": st.booleans(),
    "latency.budget_s": st.floats(0, 1e9, exclude_min=True),
    "objective.target": st.sampled_from(("3.5ms", "1.0x mobilenet_v2", ".5 ms")),
    "objective.beta": st.floats(-1e9, 0),
    "controller.options": st.dictionaries(
        TEXTS, st.floats(allow_nan=False) | st.booleans() | TEXTS | st.none(), max_size=3
    ),
    "constraints.params": st.none() | st.integers(1, 10**9),
    "final.baselines": st.lists(TEXTS, max_size=3),
}


@PROPERTY
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_dump_and_set_round_trip(values):
    """What is set by `--set` as JSON, which is YAML, is what the configuration has, and what its dump gives back."""
    config = parse_config("", "r.yaml", [f"{key}={yaml_flow(value)}" for key, value in values.items()])
    for key, value in values.items():
        found = config
        for name in key.split("."):
            found = getattr(found, name)
        assert found == value
    assert parse_config(config.dump(), "dump") == config


def yaml_flow(value: object) -> str:
    """One line of YAML that any program might write."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, dict):
        return "{" + ", ".join(f"? {yaml_flow(k)} : {yaml_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_flow, value)) + "]"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    return "null" if value is None else repr(value).lower()


@PROPERTY
@given(st.text(max_size=30), st.sampled_from(sorted(VALUES)))
def test_whatever_is_typed_is_taken_or_refused_in_one_line(text, key):
    messages = []
    for recipe, assignments in ((text, []), ("", [text]), ("", [f"{key}={text}"])):
        try:
            parse_config(recipe, "r.yaml", assignments)
        except UserError as error:
            messages.append(str(error))
    # a line break that somebody types into --set comes back in the message
    assert all(len(message.splitlines()) <= 1 + len(text.splitlines()) for message in messages)


def test_objective_of_the_section():
    section = parse_config("objective: {form: absolute, alpha: 0, beta: -0.2}", "r.yaml").objective
    assert section.objective(4.0) == Objective(target_ms=4.0, form="absolute", alpha=0.0, beta=-0.2)
    assert Target.parse(section.target) == Target(1.0, "mobilenet_v2")
