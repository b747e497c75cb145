"""A measurement is taken once for each device, pair of models, settings and seed; what went wrong is not kept."""

import json
from dataclasses import replace

import pytest

from latency.measurement import Measurement
from latency.meter import GRADES
from latency.reference import calibrate
from nas.measurement_cache import CachedMeter, cache_folder
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx
from tests.latency.synthetic_runtime import SyntheticMeter

SETTINGS = GRADES["search"].settings


def model(width):
    return emit_onnx(lower(parse_arch(f"stem_k3_s22_o{width} r1_k3_s11_e3_i{width}_o{width} head_o16"), 16, 10))


A, B = model(8), model(16)


@pytest.fixture
def meters(tmp_path):
    """A meter that counts, and a maker of caches around it."""
    meter = SyntheticMeter(noise=0.01)
    return meter, lambda **options: CachedMeter(meter, tmp_path / "cache", **options)


def test_the_same_question_is_asked_once(meters):
    meter, cached = meters
    first = cached().measure(A, B, SETTINGS)
    again = cached().measure(A, B, SETTINGS)
    assert meter.num_measured == 1
    assert again == first == Measurement.from_dict(json.loads(json.dumps(first.to_dict())))


@pytest.mark.parametrize(
    "change",
    [
        {"candidate": B},
        {"reference": A},
        {"settings": replace(SETTINGS, budget_s=2.0)},
        {"seed": 1},
        {"fresh_process": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_asked_again(meters, change):
    meter, cached = meters
    asked = {"candidate": A, "reference": B, "settings": SETTINGS, "seed": 0, "fresh_process": False}
    for question in (asked, {**asked, **change}):
        question = dict(question)
        cached().measure(question.pop("candidate"), question.pop("reference"), question.pop("settings"), **question)
    assert meter.num_measured == 2


def test_another_device_is_another_question(meters, tmp_path):
    meter, cached = meters
    cached().measure(A, B)
    other = SyntheticMeter(num_threads=2)
    CachedMeter(other, tmp_path / "cache").measure(A, B)
    assert (meter.num_measured, other.num_measured) == (1, 1)


def test_fresh_measures_and_remembers_that(meters):
    meter, cached = meters
    first = cached().measure(A, B)
    second = cached(fresh=True).measure(A, B)
    assert (meter.num_measured, second == first) == (2, False)
    assert cached().measure(A, B) == second


def test_what_failed_is_not_kept(meters, tmp_path):
    class Failing(SyntheticMeter):
        def measure(self, candidate, reference, settings=None, *, seed=0, fresh_process=False):
            good = super().measure(candidate, reference, settings)
            shas = (good.candidate_sha256, good.reference_sha256, good.device)
            return Measurement.failure("no", candidate_sha256=shas[0], reference_sha256=shas[1], device=shas[2])

    cached = CachedMeter(Failing(), tmp_path / "other")
    assert cached.measure(A, B).status == "failed"
    assert not (tmp_path / "other").exists()


def test_damaged_files_are_measured_again(meters, tmp_path):
    meter, cached = meters
    cached().measure(A, B)
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_text()
    for damaged in ("", whole[:-10], json.dumps({**json.loads(whole), "version": 0}), "[]"):
        path.write_text(damaged)
        cached().measure(A, B)
        assert json.loads(path.read_text())["version"] == 1
    assert meter.num_measured == 5


def test_a_calibration_is_remembered_too(meters):
    meter, cached = meters
    first, _ = calibrate(cached(), A)
    asked = meter.num_measured
    second, _ = calibrate(cached(), A)
    assert (meter.num_measured, second) == (asked, first)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "nas"
