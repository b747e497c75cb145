"""A table finds the truth behind a runtime that is a formula, says what it does not know, and survives its file."""

from __future__ import annotations

import errno
import io
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest

from latency.latency import Latency
from latency.layer_prices import LayerPrices
from latency.metered import MeteredLatency
from latency.op_key import KINDS, OpKey
from latency.reference import Reference
from latency.table import LatencyTable, MissingKeysError, Validation, WorstCase, fit_table
from latency.table_build import observe
from latency.table_file import TableFileError, load_table, save_table
from latency.table_validation import compare, validation
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from tests.latency.synthetic_runtime import (
    NUM_CLASSES,
    REFERENCE,
    RESOLUTION,
    SPACE,
    SyntheticMeter,
    device,
    samples,
    true_us,
)


def metered_by(meter):
    unfrozen = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES)
    model = unfrozen.model(REFERENCE)
    return MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=Reference(model, true_us(model) / 1000))


def table_of(noise, num=70, seed=0):
    metered = metered_by(SyntheticMeter(noise, seed))
    observations = [observe(metered, arch, NUM_CLASSES) for arch in samples(num, seed)]
    return fit_table(
        observations,
        device=device(),
        population="space tiny",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=metered.reference.reference_ms,
        date="2026-01-01",
    )


@pytest.fixture(scope="module")
def table():
    return table_of(noise=0.0)


def errors(table, archs):
    metered = metered_by(SyntheticMeter())
    known = [arch for arch in archs if not table.missing(lower(arch, RESOLUTION, NUM_CLASSES))]
    assert len(known) >= 0.8 * len(archs)
    return np.array([table.price(arch).latency_ms / (true_us(metered.model(arch)) / 1000) - 1 for arch in known])


def test_recovers_a_noiseless_runtime(table):
    off = np.abs(errors(table, samples(40, seed=1)))
    assert off.mean() < 0.002
    assert off.max() < 0.02  # interpolated keys included


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_averages_out(seed):
    off = np.abs(errors(table_of(noise=0.02, seed=seed), samples(40, seed=100 + seed)))
    assert off.mean() < 0.02


def test_a_fused_add_costs_what_was_seen(table):
    fused = [key for key in table.rows if key.kind == "add" and key.after == "plain" and key.out_channels % 16 == 0]
    alone = [key for key in table.rows if key.kind == "add" and key.after == "activated"]
    assert fused
    assert alone
    assert all(table.rows[key].mean_us == 0 == table.rows[key].num_kernels for key in fused)
    assert all(table.price_us(key) == 0 for key in fused)
    assert all(table.rows[key].mean_us > 1 for key in alone)


def test_a_change_of_layout_is_charged_to_who_needs_it(table):
    scales = [row for key, row in table.rows.items() if key.kind == "scale"]
    assert scales
    assert {row.num_kernels for row in scales} == {3.0}
    gated = {key: row for key, row in table.rows.items() if key.before == "scale"}
    assert gated
    assert {row.num_kernels for row in gated.values()} == {1.0}


def test_price_is_a_latency(table):
    latency = table.latency(REFERENCE)
    assert (latency.source, latency.status, latency.num_pairs) == ("table", "ok", 0)
    assert latency.interval_ms[0] < latency.latency_ms < latency.interval_ms[1]
    assert latency.latency_ms == pytest.approx(latency.ratio * table.reference_ms)
    worse = replace(table, validation=Validation(0.1, 0.3, 0.5, 9, (), "2026-01-01"))
    assert worse.price(REFERENCE).interval_ms[1] == pytest.approx(
        latency.latency_ms * math.exp(1.96 * 0.1 / math.sqrt(2 / math.pi))
    )


def test_price_is_the_sum_of_its_operations(table):
    arch = samples(1, seed=0)[0]
    total_us = table.correction.intercept_us + sum(table.price_us(key) for key in table.keys(arch))
    assert table.price(arch).latency_ms == pytest.approx(total_us / 1000)


def test_missing_keys_are_named_with_what_helps(table):
    arch = parse_arch("stem_k3_s22_o16 r1_k7_s11_e3_i16_o16 r1_k3_s11_e1_i16_o512 head_o64")
    missing = table.missing(lower(arch, RESOLUTION, NUM_CLASSES))
    assert OpKey.parse("depthwise 48->48 k7 s1 @16x16 relu") in missing
    assert OpKey.parse("pointwise 512->64 k1 s1 @16x16 relu") in missing
    with pytest.raises(MissingKeysError) as caught:
        table.price(arch)
    assert caught.value.keys == tuple(missing)
    assert f"'{missing[0]}'" in str(caught.value)
    assert f"nas latency table build --arch '{arch}' --out FILE" in str(caught.value)
    with pytest.raises(KeyError):
        table.price_us(missing[0])


def test_widths_in_between_are_interpolated(table):
    key = OpKey.parse("pointwise 24->64 k1 s1 @8x8 relu")
    assert key in table.rows
    without = replace(table, rows={k: row for k, row in table.rows.items() if k != key})
    assert without.knows(key)
    assert without.price_us(key) == pytest.approx(table.price_us(key), rel=0.05)
    arch = next(arch for arch in samples(200, seed=0) if key in table.keys(arch))
    assert key in without.interpolated(arch)
    assert key not in table.interpolated(arch)


def test_a_measurement_corrects_the_table(table):
    arch = samples(1, seed=5)[0]
    before = table.price(arch)

    def measured(factor):
        ratio = before.ratio * factor
        latency_ms = ratio * table.reference_ms
        interval = (ratio * 0.999, ratio * 1.001)
        interval_ms = (latency_ms * 0.999, latency_ms * 1.001)
        return Latency(latency_ms, interval_ms, ratio, interval, "ok", "measured", 16)

    slower = table.corrected([(arch, measured(1.1))] * 40)
    assert len(slower.networks) == len(table.networks) + 40
    assert before.latency_ms * 1.01 < slower.price(arch).latency_ms < before.latency_ms * 1.11
    assert slower.rows == table.rows
    same = table.corrected([(arch, Latency.failure("broken"))])
    assert same.price(arch).latency_ms == pytest.approx(before.latency_ms)
    with pytest.raises(ValueError, match="corrected by measurements alone"):
        table.corrected([(arch, before)])


def test_nothing_measured_is_no_table():
    with pytest.raises(ValueError, match="of 0 observed networks none has a usable measurement"):
        fit_table([], device=device(), population="space tiny", num_classes=2, reference=REFERENCE, reference_ms=1.0)


def test_layer_prices_are_those_of_each_network(table):
    priced = LayerPrices(table)
    rng = np.random.default_rng(3)
    compared = 0
    for _ in range(250):
        arch = SPACE.decode(SPACE.sample(rng))
        if table.missing(lower(arch, RESOLUTION, NUM_CLASSES)):
            with pytest.raises(MissingKeysError):
                priced.latency_ms(arch)
            continue
        assert priced.latency_ms(arch) == pytest.approx(table.price(arch).latency_ms, abs=1e-9)
        compared += 1
    assert compared >= 200


MODULES = [
    parse_arch(text)
    for text in (
        "norm_e0.01 stem_k3_s22_o16 maxpool_k3_s22_ceil r2_k3_s22_bv8_i16_o32 head_noconv",
        "stem_k3_s22_o16_valid lrn branches_i16(k1_o8|k1_o8,k1x7_o16|maxpool_k3_s11,(k1x3_o8|k3x1_o8)) head_noconv",
        "nonorm stem_k7_s22_o16 r1_k3_s11_dwsep_i16_o32_swish avgpool_k3_s11_countpad r1_k3_s22_b8_i32_o64 head_o64",
        "stem_k3_s22_o16 branches_i16_gse0.25(k3_s22_o16_valid|maxpool_k3_s22_valid) lrn head_noconv aux_b1_w0.3_o8",
        *(
            f"stem_k3_s22_o16 r{n}_k3_s11_b8_i16_o32 maxpool_k3_s22 r1_k3_s11_dwsep_i32_o32 head_noconv"
            for n in (1, 2, 3)
        ),
    )
]


def test_networks_of_pools_branches_and_bottlenecks(tmp_path):
    """Each operation has a row of its own kind, prices sum up, layer by layer alike."""
    metered = metered_by(SyntheticMeter())
    observations = [observe(metered, arch, NUM_CLASSES) for arch in (*MODULES, *samples(20, seed=0))]
    table = fit_table(
        observations,
        device=device(),
        population="space tiny",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=metered.reference.reference_ms,
        date="2026-01-01",
    )
    assert {key.kind for key in table.rows} == set(KINDS) - {"grouped"}
    assert {key.padding for key in table.rows} == {"same", "valid", "ceil"}
    priced = LayerPrices(table)
    for arch in MODULES:
        truth_ms = true_us(metered.model(arch)) / 1000
        assert table.price(arch).latency_ms == pytest.approx(truth_ms, rel=0.03), str(arch)
        assert priced.latency_ms(arch) == pytest.approx(table.price(arch).latency_ms, abs=1e-9)
    save_table(table, tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == table


def test_validation_measures_fresh_networks(table):
    metered = metered_by(SyntheticMeter())
    archs = [a for a in samples(20, 7) if not table.missing(lower(a, RESOLUTION, NUM_CLASSES))]
    found = validation(list(compare(table, metered, archs)), date="2026-01-02")
    assert found.num_networks == len(archs)
    assert found.mape < 0.005
    assert found.within_5_percent == 1.0
    assert found.kendall_tau > 0.98
    assert [abs(c.table_ms / c.measured_ms - 1) for c in found.worst] == sorted(
        (abs(c.table_ms / c.measured_ms - 1) for c in found.worst), reverse=True
    )
    with pytest.raises(ValueError, match="needs at least 2"):
        validation([])


def test_validation_by_hand():
    price = Latency(1.0, (0.9, 1.1), 1.0, (0.9, 1.1), "ok", "table")
    rows = [
        (REFERENCE, replace(price, latency_ms=ms, interval_ms=(ms / 2, ms * 2)), measured)
        for ms, measured in ((1.0, 1.0), (2.2, 2.0), (3.0, 4.0))
    ]
    found = validation(rows, date="2026-01-02")
    assert found.mape == pytest.approx((0 + 0.1 + 0.25) / 3)
    assert found.within_5_percent == pytest.approx(1 / 3)
    assert found.kendall_tau == pytest.approx(1.0)
    assert found.worst[0] == WorstCase(str(REFERENCE), 3.0, 4.0)


def test_file_round_trip(table, tmp_path):
    full = replace(table, validation=Validation(0.01, 1.0, 0.9, 2, (WorstCase("x", 1.0, 2.0),), "2026-01-02"))
    path = tmp_path / "t.json"
    save_table(full, path)
    loaded = load_table(path, device())
    assert loaded == full
    assert loaded.price(REFERENCE) == full.price(REFERENCE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.json"]
    key = next(iter(table.rows))
    assert json.loads(path.read_text())["rows"][str(key)]["price_us"] == pytest.approx(table.price_us(key), abs=1e-4)


@pytest.mark.parametrize("step", ["tempfile.mkstemp", "os.fdopen", "os.fsync", "os.chmod", "os.replace"])
def test_full_disk_leaves_the_old_table(table, tmp_path, monkeypatch, step):
    path = tmp_path / "t.json"
    save_table(table, path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"latency.table_file.{step}", full)
    with pytest.raises(TableFileError) as caught:
        save_table(replace(table, date="2030-01-01"), path)
    assert (
        str(caught.value) == f"{path}: the table cannot be written (No space left on device); nothing there has changed"
    )
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.json"]


def test_disk_that_fills_up_in_mid_write(table, tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    save_table(table, path)
    before = path.read_bytes()

    class Filling(io.StringIO):
        def write(self, text):
            super().write(text[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    def fdopen(descriptor, _mode):
        os.close(descriptor)
        return Filling()

    monkeypatch.setattr("latency.table_file.os.fdopen", fdopen)
    with pytest.raises(TableFileError, match="No space left on device"):
        save_table(replace(table, date="2030-01-01"), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.json"]


def test_folder_that_is_missing(table, tmp_path):
    with pytest.raises(TableFileError, match=r"t\.json: the table cannot be written \(No such file or directory\)"):
        save_table(table, tmp_path / "nowhere" / "t.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: "", "cut short"),
        (lambda text: "[]", "not a latency table"),
        (lambda text: text.replace('"nas-latency-table"', '"else"', 1), "not a latency table"),
        (
            lambda text: text.replace('"version": 2', '"version": 1', 1),
            "version 1; this program reads version 2; build",
        ),
        (lambda text: text.replace('"version": 2', '"version": 3', 1), "version 3; this program reads version 2"),
        (lambda text: text.replace('"num_classes"', '"classes"', 1), "damaged"),
        (lambda text: text.replace("@16x16", "@16", 1), "damaged"),
    ],
)
def test_files_that_are_no_table(table, tmp_path, change, message):
    path = tmp_path / "t.json"
    save_table(table, path)
    path.write_text(change(path.read_text()))
    with pytest.raises(TableFileError, match=message):
        load_table(path)


def test_no_file(tmp_path):
    with pytest.raises(TableFileError, match=r"none\.json"):
        load_table(tmp_path / "none.json")


def test_a_table_of_another_device_is_refused(table, tmp_path):
    path = tmp_path / "t.json"
    save_table(table, path)
    with pytest.raises(TableFileError, match="cpu: formula here, abacus there"):
        load_table(path, device(cpu="abacus"))
    assert isinstance(load_table(path), LatencyTable)
