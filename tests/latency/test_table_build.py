"""Which networks a build looks at, and the journal that lets it go on."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from latency.latency import Latency
from latency.op_key import op_keys
from latency.table_build import sightings, space_networks, variant_networks
from latency.table_fit import FEATURES, FittedNetwork, fit_correction
from latency.table_journal import Journal, JournalError, journal_path, read_setting
from latency.table_rows import Observation, interquartile_mean, rows
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.sampling import width_corners
from tests.latency.synthetic_runtime import NUM_CLASSES, RESOLUTION, SPACE, samples

SETTING = {"device": {"cpu": "formula"}, "population": "space tiny", "reference_ms": 2.5}


def keys_of(arch):
    return op_keys(lower(arch, RESOLUTION, NUM_CLASSES))


def observation(arch, times_us=None, factor=1.0):
    keys = keys_of(arch)
    op_us = tuple(factor * (10.0 if times_us is None else times_us(key)) for key in keys)
    latency = Latency(1.0, (0.9, 1.1), 1.0, (0.9, 1.1), "ok", "measured", 16)
    return Observation(arch, latency, (), op_us, (1,) * len(keys), 0.5)


def test_greedy_sampling_sees_rare_keys_oftener():
    seen: Counter = Counter()
    drawn = []
    for arch in space_networks(SPACE, seen, RESOLUTION, NUM_CLASSES, seed=1):
        drawn.append(arch)
        seen.update(keys_of(arch))
        if len(drawn) == 30:
            break
    random = {key for arch in samples(30, seed=1) for key in keys_of(arch)}
    assert len(seen) > 1.05 * len(random)
    assert seen == sightings([observation(arch) for arch in drawn], RESOLUTION, NUM_CLASSES)


def test_variants_begin_with_the_corners():
    arch = parse_arch("stem_k3_s22_o16 r2_k3_s11_e3_i16_o32 head_o64")
    drawn = list(islice(variant_networks(arch, 0, seed=0), 6))
    assert tuple(drawn[:3]) == width_corners(arch)
    assert len({str(variant) for variant in drawn}) == 6
    assert list(islice(variant_networks(arch, 3, seed=0), 3)) == drawn[3:]


def test_interquartile_mean_resolves_below_the_clock():
    assert interquartile_mean([4, 4, 5, 5, 5, 100, 4, 1]) == pytest.approx((4 + 4 + 5 + 5) / 4)
    assert interquartile_mean([7]) == 7


def test_rows_take_out_the_state_of_the_machine():
    archs = samples(12, seed=2)

    def truth(key):
        return 5.0 + key.out_channels / 4

    slow = [observation(arch, truth, 1.3 if n % 4 == 0 else 1.0) for n, arch in enumerate(archs)]
    found = rows(slow, RESOLUTION, NUM_CLASSES)
    assert {key: row.mean_us for key, row in found.items()} == pytest.approx(
        {key: truth(key) for key in found}, rel=0.01
    )
    assert all(row.spread_us < 0.02 * row.mean_us for row in found.values())  # 1.3 apart before
    counts = Counter(key for arch in archs for key in keys_of(arch))
    assert {key: row.count for key, row in found.items()} == counts


def test_correction_ignores_outliers_and_finds_factors():
    rng = np.random.default_rng(0)
    networks = []
    for number in range(60):
        features = np.zeros(len(FEATURES))
        features[FEATURES.index("conv.time_us")] = rng.uniform(500, 2000)
        features[FEATURES.index("depthwise.time_us")] = rng.uniform(500, 2000)
        time_us = features @ np.where([name == "conv.time_us" for name in FEATURES], 0.9, 0.7)
        ratio = time_us / 1000 * (1.5 if number % 10 == 0 else 1.0)
        networks.append(FittedNetwork(str(number), float(ratio), 0.005, tuple(features)))
    correction = fit_correction(networks, reference_us=1000.0)
    prices = dict(zip(FEATURES, correction.prices, strict=True))
    assert prices["conv.time_us"] == pytest.approx(0.9, rel=0.02)
    assert prices["depthwise.time_us"] == pytest.approx(0.7, rel=0.02)
    with pytest.raises(ValueError, match="at least one"):
        fit_correction([], 1000.0)


def test_journal_goes_on(tmp_path):
    path = journal_path(tmp_path / "t.json")
    assert path.name == "t.json.partial.jsonl"
    assert read_setting(path) is None
    first, second = (observation(arch) for arch in samples(2, seed=0))
    with Journal(path, SETTING) as journal:
        journal.append(first)
    assert read_setting(path)["reference_ms"] == 2.5
    with Journal(path, SETTING) as journal:
        assert journal.observations == [first]
        journal.append(second)
        assert journal.observations == [first, second]
    with Journal(path, SETTING) as journal:
        assert journal.observations == [first, second]


def test_journal_drops_a_torn_last_line(tmp_path):
    path = tmp_path / "j"
    kept, torn = (observation(arch) for arch in samples(2, seed=0))
    with Journal(path, SETTING) as journal:
        journal.append(kept)
        journal.append(torn)
    path.write_bytes(path.read_bytes()[:-10])
    with Journal(path, SETTING) as journal:
        assert journal.observations == [kept]
        journal.append(torn)
    with Journal(path, SETTING) as journal:
        assert journal.observations == [kept, torn]


def test_journal_torn_in_its_first_line(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b'{"format": "nas-lat')
    with Journal(path, SETTING) as journal:
        assert journal.observations == []
    assert read_setting(path)["population"] == "space tiny"


def test_journal_of_another_build_is_refused(tmp_path):
    path = tmp_path / "j"
    with Journal(path, SETTING):
        pass
    with pytest.raises(JournalError, match=r"another build \(population: space tiny there, variants of x now\)"):
        Journal(path, {**SETTING, "population": "variants of x"})


@pytest.mark.parametrize(
    ("line", "message"), [("{}", "line 2: damaged"), ("{", "line 2: not JSON"), ('{"arch": "x"}', "line 2: damaged")]
)
def test_damaged_journal(tmp_path, line, message):
    path = tmp_path / "j"
    with Journal(path, SETTING):
        pass
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(JournalError, match=message):
        Journal(path, SETTING)


def test_foreign_journal(tmp_path):
    path = tmp_path / "j"
    path.write_text(json.dumps({"format": "else"}) + "\n")
    with pytest.raises(JournalError, match="not a journal"):
        Journal(path, SETTING)
