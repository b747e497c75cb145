import json
from pathlib import Path

import pytest
import yaml

from nas.errors import UserError
from nas.netadapt.adapt_record import AdaptRecord, is_adaptation
from nas.netadapt.final_network import Training
from tests.nas.netadapt.adapt_runs import NUM_TEST, SEED, SEED_MS, TARGET_MS, latency_of, made_steps, make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", trained={"seed": [800], "adapted": [790, 796], "uniform": []})


def test_a_finished_run(run):
    record = AdaptRecord.read(run)
    assert record.seed.arch == str(SEED)
    assert (record.seed.cost, record.seed.target, record.unit) == (SEED_MS, TARGET_MS, "ms")
    assert record.seed.latency == latency_of(SEED_MS)
    assert record.steps == made_steps()
    assert record.random == made_steps(position=2)
    assert record.uniform is not None
    assert record.uniform.multiplier == 0.87
    assert (record.arch, record.cost) == (record.steps[-1].arch, record.steps[-1].cost)
    assert record.reached
    assert record.is_finished
    adapted = record.final("adapted")
    assert adapted is not None
    assert adapted.trained == (Training(0, 790), Training(1, 796))
    assert adapted.accuracies == {0: 790 / NUM_TEST, 1: 796 / NUM_TEST}
    assert adapted.mean_correct == 793
    assert record.final("uniform").mean_correct is None
    assert record.final("random") is None


def test_an_unfinished_run(tmp_path):
    record = AdaptRecord.read(
        make_run(tmp_path / "run", made_steps(measured=False)[:1], measured=False, baselines=False)
    )
    assert (len(record.steps), record.random, record.uniform, record.finals) == (1, (), None, ())
    assert not record.reached
    assert not record.is_finished
    assert record.latency is None


def test_before_the_first_step(tmp_path):
    run = make_run(tmp_path / "run", ())
    (run / "steps.jsonl").unlink()
    record = AdaptRecord.read(run)
    assert (record.steps, record.cost, record.accuracy, record.arch) == ((), SEED_MS, 0.8, str(SEED))


def test_a_line_that_is_being_written_is_left_out(run):
    with (run / "steps.jsonl").open("a") as file:
        file.write('{"step": 4, "par')
    assert AdaptRecord.read(run).steps == made_steps()


def test_which_folders_are_adaptations(run, tmp_path):
    assert is_adaptation(run)
    assert not is_adaptation(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("trials: 12\n")
    assert not is_adaptation(other)
    (other / "config.yaml").write_text("a: [\n")
    assert not is_adaptation(other)


def without(path: Path, key: str) -> None:
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))


def with_value(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "not a run folder of nas adapt (no config.yaml)"),
        (lambda run: (run / "config.yaml").write_text("trials: 12\n"), "a run of another command than nas adapt"),
        (
            lambda run: (run / "config.yaml").write_text("format: nas-adapt\nversion: 9\n"),
            "version 9; this program reads 1 and 2",
        ),
        (lambda run: (run / "seed.json").unlink(), "stopped before its seed was measured (no seed.json)"),
        (lambda run: (run / "seed.json").write_text("{"), "seed.json: not JSON"),
        (lambda run: (run / "seed.json").write_text("[]"), "seed.json: not a nas-adapt-seed file"),
        (lambda run: with_value(run / "seed.json", "version", 2), "seed.json: version 2; this program reads 1"),
        (lambda run: with_value(run / "seed.json", "unit", "joules"), "unit 'joules'; this program knows ms, MACs"),
        (lambda run: without(run / "seed.json", "cost"), "seed.json: key 'cost' is missing"),
        (lambda run: with_value(run / "uniform.json", "format", "x"), "uniform.json: not a nas-adapt-uniform file"),
        (lambda run: with_value(run / "final.json", "networks", [{}]), "final.json: key 'trained' is missing"),
        (lambda run: with_value(run / "final.json", "networks", 3), "final.json: 'int' object is not"),
        (lambda run: (run / "steps.jsonl").write_text("{}\n"), "steps.jsonl: not a nas-adapt-steps file"),
    ],
)
def test_bad_folders_are_one_line(run, damage, message):
    damage(run)
    with pytest.raises(UserError) as caught:
        AdaptRecord.read(run)
    assert message in str(caught.value)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        AdaptRecord.read(tmp_path / "nowhere")


def test_a_step_that_is_none(run):
    path = run / "steps.jsonl"
    header = path.read_text().splitlines()[0]
    path.write_text(f'{header}\n{{"step": 1}}\n')
    with pytest.raises(UserError, match=r"steps\.jsonl: key 'latency' is missing"):
        AdaptRecord.read(run)


def test_the_records_of_the_published_run_are_read():
    """What the docs say of it, from the files themselves."""
    [folder] = (Path(__file__).parents[3] / "experiments" / "results").glob("adapt_mobilenet_v2_imagenette64_*")
    record = AdaptRecord.read(folder)
    assert record.is_finished
    assert len(record.steps) == 11
    ratios = [step.predicted_ratio / step.change.ratio for step in record.steps if step.change]
    assert max(abs(ratio - 1) for ratio in ratios) < 0.014
    adapted, random = record.final("adapted"), record.final("random")
    assert 0.97 * record.seed.target < adapted.latency.latency_ms <= record.seed.target
    assert adapted.mean_correct > random.mean_correct


def test_runs_of_version_1_credited_what_went_below_the_target(run):
    path = run / "config.yaml"
    document = yaml.safe_load(path.read_text())
    assert not AdaptRecord.read(run).config.credits_excess
    del document["credits_excess"]
    path.write_text(yaml.safe_dump(document | {"version": 1}))
    assert AdaptRecord.read(run).config.credits_excess
    assert AdaptRecord.read(run).config.rules(1.0, 0.5).credits_excess


def test_candidates_without_a_useful_saving_were_credited_with_all_of_it(run):
    path = run / "steps.jsonl"
    header, *lines = path.read_text().splitlines()
    before = AdaptRecord.read(run).steps
    records = [json.loads(line) for line in lines]
    for record in records:
        for candidate in record["candidates"]:
            del candidate["useful_saving"]
    path.write_text("\n".join([header, *map(json.dumps, records)]) + "\n")
    assert AdaptRecord.read(run).steps == before
