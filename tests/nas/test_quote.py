"""Which candidates are measured, and what a table makes of the measurements of earlier ones."""

import json
import math
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.latency import Latency
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe
from nas.quote import HybridPrices, MeasureAll, Quote, TablePrices
from nas.trial import Trial, pareto_front
from search_spaces.arch_string import parse_arch
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, SyntheticMeter, device, samples, true_us
from tests.strategies import PROPERTY

UNKNOWN = parse_arch("stem_k3_s22_o16 r1_k7_s11_e3_i16_o16 r1_k3_s11_e1_i16_o512 head_o64")


@pytest.fixture(scope="module")
def table():
    meter = SyntheticMeter()
    model = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES).model(REFERENCE)
    frozen = Reference(model, true_us(model) / 1000)
    metered = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=frozen)
    return fit_table(
        [observe(metered, arch, NUM_CLASSES) for arch in samples(40, seed=0)],
        device=device(),
        population="space tiny",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=frozen.reference_ms,
    )


def measured(ms, reference_ms):
    ratio = ms / reference_ms
    return Latency(ms, (ms * 0.995, ms * 1.005), ratio, (ratio * 0.995, ratio * 1.005), "ok", "measured", 8)


def trial(number, arch, accuracy, latency):
    return Trial(
        number=number,
        choices={},
        arch=arch,
        status="ok",
        reward=accuracy,
        macs=1,
        params=1,
        accuracy=accuracy,
        latency=latency,
    )


def known(table, num, seed):
    """Networks that the table has prices for."""
    archs = (arch for arch in samples(200, seed) if all(map(table.knows, table.keys(arch))))
    return list(islice(archs, num))


def study(table, slowdown, num=12):
    """Trials of a study whose device is `slowdown` times as slow as the table's: some priced, some measured."""
    trials = []
    for number, arch in enumerate(known(table, num, seed=5)):
        price = table.price(arch)
        slow = measured(price.latency_ms * slowdown, table.reference_ms)
        trials.append(trial(number, arch, 0.5 + 0.01 * (number * 5 % 7), slow if number % 2 else price))
    return trials


def test_nothing_is_known_where_all_is_measured():
    quote = MeasureAll().quote(REFERENCE, [])
    assert quote.measures_at_once
    assert quote.failure is None
    assert not quote.measures_after(1.0)


def test_a_table_prices_and_never_measures(table):
    quote = TablePrices(table, "board").quote(REFERENCE, [])
    assert quote.latencies == {"board": table.price(REFERENCE)}
    assert not quote.measures_at_once
    assert not quote.measures_after(1.0)
    assert quote.failure is None


def test_a_network_without_a_price_fails_in_a_table_study_and_is_measured_in_a_hybrid_one(table):
    priced = TablePrices(table, "board").quote(UNKNOWN, [])
    assert priced.failure is not None
    assert priced.failure.startswith("the table has no price for 'depthwise 48->48 k7")
    assert priced.latencies["board"].source == "table"
    assert not priced.measures_at_once
    assert HybridPrices(table, "board").quote(UNKNOWN, []) == Quote()


POINTS = st.lists(st.tuples(st.sampled_from((0.2, 0.4, 0.6)), st.sampled_from((1.0, 2.0, 3.0))), max_size=8)


@PROPERTY
@given(POINTS, st.sampled_from((0.1, 0.2, 0.4, 0.7)), st.sampled_from((0.5, 1.0, 2.5)))
def test_what_enters_the_front_is_measured(points, accuracy, ms):
    """With the front of `nas.trial.pareto_front` as the oracle: a newcomer that changes it has to be measured."""
    before = [trial(number, REFERENCE, a, measured(t, 1.0)) for number, (a, t) in enumerate(points)]
    newcomer = trial(len(before), REFERENCE, accuracy, measured(ms, 1.0))
    front = tuple((t.accuracy, t.latency_ms) for t in pareto_front(before))
    enters = newcomer in pareto_front([*before, newcomer])
    assert Quote({"local": newcomer.latency}, front).measures_after(accuracy) is enters


def test_the_first_network_is_measured(table):
    quote = HybridPrices(table, "board").quote(REFERENCE, [])
    assert quote == Quote({"board": table.price(REFERENCE)}, ())
    assert quote.measures_after(0.0)


@pytest.mark.parametrize("slowdown", [0.9, 1.15])
def test_measurements_correct_later_prices(table, slowdown):
    """A device that has become slower or faster as a whole: prices move towards it."""
    told = [
        trial(number, arch, 0.5, measured(table.price(arch).latency_ms * slowdown, table.reference_ms))
        for number, arch in enumerate(known(table, 30, seed=5))
    ]
    arch = known(table, 1, seed=9)[0]
    before, after = (HybridPrices(table, "board").quote(arch, t).latencies["board"].latency_ms for t in ([], told))
    truth = before * slowdown
    assert abs(math.log(after / truth)) < abs(math.log(before / truth))


def test_prices_are_a_function_of_the_trials_told(table):
    """However often and at which moments it was asked before: a resumed study asks once."""
    told, arch = study(table, 1.1), known(table, 1, seed=9)[0]
    going_on = HybridPrices(table, "board")
    quotes = [going_on.quote(arch, told[:number]) for number in range(len(told) + 1)]
    assert len({quote.latencies["board"].latency_ms for quote in quotes}) > 2  # corrections happened
    for number, quote in enumerate(quotes):
        assert HybridPrices(table, "board").quote(arch, told[:number]) == quote


def test_what_says_nothing_of_the_device_corrects_nothing(table):
    prices = HybridPrices(table, "board")
    priced = trial(0, known(table, 1, seed=5)[0], 0.5, table.price(known(table, 1, seed=5)[0]))
    unknown = trial(1, UNKNOWN, 0.5, measured(9.0, table.reference_ms))
    failed = replace(trial(2, REFERENCE, 0.5, Latency.failure("no such kernel")), status="failed")
    repeat = replace(trial(3, REFERENCE, 0.5, measured(9.0, table.reference_ms)), repeat_of=9)
    assert prices.table([priced, unknown, failed, repeat]) is table


def test_a_quote_travels_as_json(table):
    quotes = [
        Quote(),
        HybridPrices(table, "board").quote(REFERENCE, study(table, 1.1)),
        TablePrices(table, "board").quote(UNKNOWN, []),
    ]
    for quote in quotes:
        assert Quote.from_dict(json.loads(json.dumps(quote.to_dict(), allow_nan=False))) == quote
