"""A table is compared with a few networks of the space before a study believes it."""

import math
from dataclasses import replace

import pytest

from latency.latency import Latency
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe
from nas.errors import UserError
from nas.table_trust import MAX_ERROR, NUM_NETWORKS, check_device, check_prices
from search_spaces.mnasnet import MNASNET
from tests.latency.synthetic_runtime import (
    NUM_CLASSES,
    REFERENCE,
    SPACE,
    SyntheticMeter,
    device,
    samples,
    true_us,
)


def metered(meter):
    model = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES).model(REFERENCE)
    return MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=Reference(model, true_us(model) / 1000))


@pytest.fixture(scope="module")
def table():
    source = metered(SyntheticMeter())
    return fit_table(
        [observe(source, arch, NUM_CLASSES) for arch in samples(40, seed=0)],
        device=device(),
        population="space tiny",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=source.reference.reference_ms,
    )


def slower(table, *factors):
    """Measures as the table says, times one factor after the other; keeps what it was asked."""
    asked = []

    def measure(arch):
        price = table.price(arch)
        factor = factors[len(asked) % len(factors)]
        asked.append(arch)
        ms, ratio = price.latency_ms * factor, price.ratio * factor
        return Latency(ms, (ms, ms), ratio, (ratio, ratio), "ok", "measured", 8)

    return measure, asked


def test_a_table_of_this_device_is_believed(table):
    measured = metered(SyntheticMeter(noise=0.005))
    assert check_prices(table, "t.json", SPACE, 0, measured.latency) < MAX_ERROR


def test_networks_follow_from_the_seed(table):
    asked = {}
    for seed in (0, 0, 1):
        measure, archs = slower(table, 1.0)
        assert check_prices(table, "t.json", SPACE, seed, measure) == pytest.approx(0)
        assert asked.setdefault(seed, archs) == archs
        assert len(archs) == NUM_NETWORKS
    assert asked[0] != asked[1]


@pytest.mark.parametrize("factors", [(1.06,), (0.94,), (1.2, 0.8, 1.0), (1.0, 0.9, 1.07)])
def test_a_table_that_is_off_is_refused(table, factors):
    measure, _ = slower(table, *factors)
    with pytest.raises(UserError, match=r"^t.json: the table is off by .* nas latency table build --space tiny --out"):
        check_prices(table, "t.json", SPACE, 0, measure)


@pytest.mark.parametrize("factors", [(1.04,), (1.3, 1.0, 0.97)])
def test_one_stray_measurement_is_no_verdict(table, factors):
    measure, _ = slower(table, *factors)
    found = check_prices(table, "t.json", SPACE, 0, measure)
    assert found == pytest.approx(sorted(abs(math.log(f)) for f in factors)[len(factors) // 2])


def test_a_table_of_another_space_is_refused(table):
    with pytest.raises(
        UserError, match=r"prices 0 of 30 random networks of space mnasnet, no price for '.*--space mnasnet"
    ):
        check_prices(table, "t.json", MNASNET, 0, lambda _: pytest.fail("measured"))


def test_a_device_that_measures_nothing(table):
    with pytest.raises(UserError, match=r"no network could be measured: no such kernel$"):
        check_prices(table, "t.json", SPACE, 0, lambda _: Latency.failure("no such kernel"))


def test_another_device_is_refused_with_the_difference(table):
    check_device(table, "t.json", table.device)
    with pytest.raises(UserError, match="another device \\(cpu: formula here, abacus there\\); build one there"):
        check_device(table, "t.json", replace(table.device, cpu="abacus"))
