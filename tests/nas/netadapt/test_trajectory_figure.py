from dataclasses import replace

import pytest

from latency.latency import Latency
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.trajectory_figure import final_test_figure, prediction_figure, trajectory_figure
from search_spaces.arch_string import parse_arch
from tests.nas.netadapt.adapt_runs import SEED_ACCURACY, SEED_MS, TARGET_MS, made_ms, made_steps, make_run

TRAINED = {"seed": [800, 805], "adapted": [790, 796], "uniform": [781, 783], "random": []}
STEPS = made_steps()


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return AdaptRecord.read(make_run(tmp_path_factory.mktemp("runs") / "run", trained=TRAINED))


def named(figure):
    return {trace.name: trace for trace in figure.data}


def test_the_way_down(record):
    figure = trajectory_figure(record)
    traces = named(figure)
    way = traces["accepted steps"]
    assert list(way.x) == [SEED_MS, *(step.cost for step in STEPS)]
    assert list(way.y) == [SEED_ACCURACY, *(step.accuracy for step in STEPS)]
    assert "block 2 expansion 48 -&gt; 32" in way.text[2]
    assert list(traces["random steps, for comparison"].x)[1:] == [step.cost for step in made_steps(position=2)]
    assert list(traces["uniform multiplier"].x) == [3.19]
    assert (list(traces["adapted"].x), traces["adapted"].marker.symbol) == ([STEPS[-1].cost], "star")
    assert [shape.x0 for shape in figure.layout.shapes] == [TARGET_MS]
    low, high = figure.layout.yaxis.range
    assert low < 0.76 < SEED_ACCURACY < high  # the uniform network is in the picture


def test_the_way_down_in_millions(record):
    seed = replace(record.seed, unit="MACs", cost=3e8, target=2e8)
    figure = trajectory_figure(replace(record, seed=seed, steps=(), random=(), uniform=None))
    assert list(named(figure)) == ["seed"]
    assert list(figure.data[0].x) == [300]
    assert figure.layout.shapes[0].x0 == 200
    assert figure.layout.xaxis.title.text == "million multiply-adds"


def test_predictions_beside_measurements(record):
    traces = named(prediction_figure(record))
    measured = traces["measured, with 95 % interval"]
    assert list(measured.x) == [1, 2, 3]
    assert list(measured.y) == [1 - step.change.ratio for step in STEPS]
    # what is saved falls as the ratio grows: the upper end is that of the lower ratio
    tops = [value + up for value, up in zip(measured.y, measured.error_y.array, strict=True)]
    bottoms = [value - down for value, down in zip(measured.y, measured.error_y.arrayminus, strict=True)]
    assert tops == pytest.approx([1 - step.change.ratio_interval[0] for step in STEPS])
    assert bottoms == pytest.approx([1 - step.change.ratio_interval[1] for step in STEPS])
    assert list(traces["predicted"].y) == [1 - step.predicted_ratio for step in STEPS]


def test_failed_measurements_are_left_out(record):
    failed = replace(STEPS[0], change=Latency.failure("no"))
    traces = named(prediction_figure(replace(record, steps=(failed, *STEPS[1:]))))
    assert list(traces["predicted"].x) == [2, 3]
    assert prediction_figure(replace(record, steps=(failed,))) is None


def test_trainings_from_scratch(record):
    figure = final_test_figure(record)
    means = {trace.name: trace for trace in figure.data if trace.name}
    assert list(means) == ["seed", "adapted", "uniform multiplier"]  # the random one was not trained
    assert list(means["adapted"].y) == [pytest.approx(0.793)]
    assert list(means["adapted"].x) == [made_ms(parse_arch(STEPS[-1].arch))]
    seeds = [trace for trace in figure.data if not trace.name]
    assert [list(trace.y) for trace in seeds] == [[0.8, 0.805], [0.79, 0.796], [0.781, 0.783]]
    assert figure.layout.xaxis.title.text == "latency in ms"


def test_trainings_where_nothing_was_measured(record):
    finals = tuple(replace(network, latency=None, cost=2.5e8) for network in record.finals)
    figure = final_test_figure(replace(record, seed=replace(record.seed, unit="MACs"), finals=finals))
    assert {x for trace in figure.data for x in trace.x} == {250}
    assert figure.layout.xaxis.title.text == "million multiply-adds"
    assert final_test_figure(replace(record, finals=())) is None
