"""The table that is made by itself: found again, gone on with, and never another network's or device's."""

from __future__ import annotations

import io
import math
from functools import partial

import pytest
from rich.console import Console

from latency.cores import measuring_core
from latency.deployment import Deployment
from latency.measuring_lock import measuring_lock
from latency.meter import GRADES
from latency.meter_process import MeterProcess
from latency.table_journal import journal_path
from nas.errors import UserError
from nas.netadapt import own_table
from nas.netadapt.measured_cost import MeasuredCost
from nas.netadapt.own_table import metered_by, own_table_path, table_for
from nas.netadapt.proposal import offer
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.zoo import get
from tests.latency.conftest import QUICK
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, SyntheticMeter

ARCH = parse_arch("stem_k3_s22_o16 r2_k3_s11_e3_i16_o24_se0.25 head_o32")
WIDER = parse_arch("stem_k3_s22_o24 r2_k3_s11_e3_i24_o24_se0.25 head_o32")


@pytest.fixture(autouse=True)
def few(monkeypatch, tmp_path):
    monkeypatch.setattr(own_table, "NUM_NETWORKS", 5)
    monkeypatch.setattr(own_table, "_FEWEST", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def meter():
    return SyntheticMeter()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def made(meter, console, arch=ARCH, seconds=60.0, **options):
    return table_for(arch, meter, NUM_CLASSES, console, seconds, **{"reference": REFERENCE, **options})


def path_of(meter, arch=ARCH):
    return own_table_path(arch, meter.device, NUM_CLASSES, REFERENCE)


def test_made_once(meter, console, tmp_path):
    table = made(meter, console)
    path = path_of(meter)
    assert len(table.networks) == 5
    assert path.parent == tmp_path / "cache" / "nas" / "tables"
    assert str(path) in console.file.getvalue()
    said, measured = console.file.getvalue(), meter.num_measured
    again = made(meter, console)
    assert (meter.num_measured, console.file.getvalue()) == (measured, said)
    assert again.price(one_layer_blocks(ARCH)) == table.price(one_layer_blocks(ARCH))


def test_however_its_blocks_are_written(meter, console):
    made(meter, console)
    measured = meter.num_measured
    made(meter, console, one_layer_blocks(ARCH))
    assert meter.num_measured == measured


@pytest.mark.parametrize(
    ("arch", "device", "num_classes", "reference"),
    [
        (WIDER, {}, NUM_CLASSES, REFERENCE),
        (ARCH, {"cpu": "abacus"}, NUM_CLASSES, REFERENCE),
        (ARCH, {"resolution": 64}, NUM_CLASSES, REFERENCE),
        (ARCH, {"onnxruntime": "1"}, NUM_CLASSES, REFERENCE),
        (ARCH, {}, 7, REFERENCE),
        (ARCH, {}, NUM_CLASSES, ARCH),
    ],
)
def test_anything_else_is_another_table(meter, arch, device, num_classes, reference):
    other = own_table_path(arch, SyntheticMeter(**device).device, num_classes, reference)
    assert other != path_of(meter)
    assert other == own_table_path(arch, SyntheticMeter(**device).device, num_classes, reference)


def test_covers_every_width_that_is_proposed(meter, console):
    """SE's squeezed widths and the least ones included: prices of all narrowings, of the network and along the way."""
    cost = MeasuredCost(made(meter, console), metered_by(made(meter, console), meter))
    parent = one_layer_blocks(ARCH)
    for share in (0.02, 0.1, 0.5):
        offered = offer(parent, cost, share * cost(parent))  # a width without a price would raise
        assert offered.proposals or share == 0.5
        parent = offered.proposals[-1].arch if offered.proposals else parent


def test_an_interrupted_build_goes_on(meter, console, monkeypatch):
    trace, traced = meter.trace, []

    def interrupted(model, num_runs=20):
        traced.append(model)
        if len(traced) == 3:
            raise KeyboardInterrupt
        return trace(model, num_runs)

    monkeypatch.setattr(meter, "trace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(meter, console)
    path = path_of(meter)
    assert not path.exists()
    done = journal_path(path).read_text().splitlines()
    assert len(done) == 1 + 2
    table = made(meter, console)
    assert "goes on" in console.file.getvalue()
    assert journal_path(path).read_text().splitlines()[:3] == done
    assert len(table.networks) == 5
    assert len(traced) == 3 + 3


def test_time_ends_it_though_not_below_the_fewest(meter, console):
    assert len(made(meter, console, seconds=0.0).networks) == 4


@pytest.mark.parametrize("damage", ["", "[]", '{"format": "nas-latency-table", "version": 0}'])
def test_a_damaged_one_is_made_again_from_its_observations(meter, console, damage):
    table = made(meter, console)
    path_of(meter).write_text(damage)
    measured = meter.num_measured
    assert [network.arch for network in made(meter, console).networks] == [network.arch for network in table.networks]
    assert meter.num_measured == measured


def test_a_machine_too_busy_makes_none(meter, console):
    """Twice as slow once it is calibrated and two networks are done."""
    measure = meter.measure

    def busy(*arguments, **options):
        meter.slowdown = 1.0 if meter.num_measured < 3 + 2 else 2.0
        return measure(*arguments, **options)

    meter.measure = busy
    with pytest.raises(UserError, match=r"too busy, only 2 networks could be measured of the 4"):
        made(meter, console)
    assert list(path_of(meter).parent.iterdir()) == []
    meter.measure, meter.slowdown = measure, 1.0
    assert len(made(meter, console).networks) == 5


def test_networks_that_have_no_variants(meter, console):
    with pytest.raises(UserError, match=r"parallel branches have no variants.*--table FILE"):
        made(meter, console, get("googlenet"))


def test_measurements_compare_with_the_table(meter, console):
    table = made(meter, console)
    metered = metered_by(table, meter)
    measured = meter.num_measured
    assert metered.reference.reference_ms == table.reference_ms
    assert metered.latency(REFERENCE).latency_ms == pytest.approx(table.reference_ms)
    assert meter.num_measured == measured + 1


def test_reference_is_mobilenet_v2_by_default(meter, console):
    assert table_for(ARCH, meter, NUM_CLASSES, console).reference.key == get("mobilenet_v2").key


class Hasty:
    """A process that takes no time for what it measures."""

    def __init__(self, process):
        self.device, self.trace, self.close, self._process = process.device, process.trace, process.close, process

    def measure(self, candidate, reference, settings=None, **options):
        return self._process.measure(candidate, reference, QUICK, **options)


def test_on_this_machine(console, monkeypatch, tmp_path):
    """From nothing to a measured step, with the real runtime: shapes and signs, for the clock decides the rest."""
    monkeypatch.setattr("latency.meter_process.measuring_lock", partial(measuring_lock, tmp_path / "lock"))
    monkeypatch.setattr("latency.reference.MAX_SLOWDOWN", math.inf)  # whoever else uses this machine
    monkeypatch.setattr("latency.estimator.MAX_DISTURBED", 1.0)
    monkeypatch.setattr("latency.estimator.MIN_CPU_RATIO", 0.0)
    seed = one_layer_blocks(ARCH)
    with MeterProcess(measuring_core(), Deployment(resolution=32)) as process:
        meter = Hasty(process)
        table = table_for(ARCH, meter, NUM_CLASSES, console, reference=WIDER)
        cost = MeasuredCost(table, metered_by(table, meter), grade=GRADES["search"])
        latency = cost.seed(seed)
        proposals = offer(seed, cost, 1e-6 * cost(seed)).proposals
        settled = cost.settle(seed, latency, max(proposals, key=lambda proposal: proposal.saving).arch)
    assert table.device == meter.device
    assert settled.predicted_ratio < 1
    assert {latency.source, settled.latency.source, settled.change.source} == {"measured"}
    assert 0 < settled.change.ratio < math.inf
