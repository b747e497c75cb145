from dataclasses import replace

import pytest

from nas.netadapt.adapt_headline import outcome, warnings
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.final_network import Training
from tests.nas.netadapt.adapt_runs import made_steps, make_run

WAY = "tiny came down from 4.000 ms to 3.18 ms (3.15 to 3.21), by 20.5 %, in 3 steps; "
RIVAL = "the uniform width multiplier at 2.832 ms"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    trained = {"adapted": [790, 796, 789], "uniform": [781, 783, 785]}
    return AdaptRecord.read(make_run(tmp_path_factory.mktemp("runs") / "run", trained=trained))


def with_adapted(record, *correct):
    trained = tuple(Training(seed, number) for seed, number in enumerate(correct))
    return replace(record, finals=(replace(record.finals[0], trained=trained), *record.finals[1:]))


def test_not_told_apart_is_said(record):
    assert outcome(record) == (
        f"{WAY}trained from scratch, it is not told apart from {RIVAL}: "
        "+0.87 points (95 %: -0.25 to +1.99, over 3 seeds)."
    )


def test_a_win(record):
    assert outcome(with_adapted(record, 791, 794, 795)) == (
        f"{WAY}trained from scratch, it is 1.03 points better than {RIVAL} (95 %: 0.89 to 1.18, over 3 seeds)."
    )


def test_a_loss_is_said_and_what_follows_from_it(record):
    assert outcome(with_adapted(record, 771, 774, 775)) == (
        f"{WAY}trained from scratch, it is 0.97 points worse than {RIVAL} (95 %: 0.82 to 1.11, over 3 seeds): "
        "the uniform network is the one to take."
    )


def test_one_training_each(record):
    text = outcome(with_adapted(record, 790))
    assert "not told apart" in text
    assert text.endswith("over test images, one training each).")


def test_without_trainings_held_out_images_must_do(record):
    assert outcome(replace(record, finals=())) == (
        f"{WAY}on held-out images, which chose its steps and flatter it, it is 3.70 points better than the uniform width "
        "multiplier 0.87 at 3.190 ms (95 %: 0.06 to 7.33, over images)."
    )


def test_without_any_comparison(record):
    assert outcome(replace(record, finals=(), uniform=None)) == (
        f"{WAY}its held-out accuracy is 79.7 % (77.1 to 82.1), that of tiny was 80.0 %; "
        "no uniform width multiplier was compared."
    )


def test_on_the_way(record):
    unfinished = replace(record, steps=record.steps[:1], finals=())
    assert outcome(unfinished) == (
        "tiny came down from 4.000 ms to 3.59 ms (3.56 to 3.63), by 10.2 %, in 1 step, on its way to 3.200 ms; "
        "its held-out accuracy is 80.0 % (77.4 to 82.4), that of tiny was 80.0 %."
    )
    assert outcome(replace(record, steps=())) == (
        "No step has been accepted so far: tiny has 4.000 ms, the target is 3.200 ms."
    )


def test_warnings(record):
    assert warnings(record) == []
    one, two, three = made_steps()
    disturbed = replace(one.latency, status="unstable", reason="busy")
    steps = (replace(one, latency=disturbed), replace(two, change=disturbed), replace(three, tied=("b5.l1.expand",)))
    first, second = warnings(replace(record, steps=steps))
    assert first.startswith("Latencies of steps 1, 2 are less sure")
    assert second.startswith("In 1 of 3 steps the accepted proposal was not told apart")
