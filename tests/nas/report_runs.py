"""Run folders for the tests of reports, made without training or measuring."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from controllers.build import build_controller
from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.latency import Latency
from nas.calibration import Calibration, DeviceCalibration, DeviceState
from nas.config import Config, parse_config
from nas.finalist import FINAL_VERSION, Finalist
from nas.run import Run
from nas.run_folder import write_json
from nas.study import Constraints, Study
from nas.trial import Trial, read_trials
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts, count
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.zoo import get

TARGET_MS = 3.0
NASTY = "<script>alert('loss')</script> & more"
DEVICE = DeviceInfo(
    cpu="Some <b>CPU</b>",
    num_cores=2,
    memory_gib=4.0,
    system="Linux 6",
    machine="x86_64",
    python="3.11.0",
    onnxruntime="1.2.3",
    options="none",
    resolution=64,
    batch=1,
    num_threads=1,
    dtype="float32",
    provider="CPUExecutionProvider",
)
CALIBRATION = Calibration({"local": DeviceCalibration(TARGET_MS, DeviceState(3.0, Spread(), DEVICE))}, "f00d")
RECIPE = "{trials: 12, concurrency: 2, controller: {name: random}, latency: {resolution: 64}}"


def small_counts(arch: ArchSpec) -> Counts:
    return count(lower(arch, 64, 1000))


def latency_of(ms: float) -> Latency:
    return Latency(ms, (ms * 0.98, ms * 1.03), ms / 3, (ms * 0.98 / 3, ms * 1.03 / 3), "ok", "measured", 20, 1)


def succeeded(blank: Trial) -> Trial:
    """Accuracy and latency scattered by the trial's number; the accuracy also follows the size."""
    latency = latency_of(2.0 + blank.number * 7 % 5)
    accuracy = 0.7 + 0.02 * math.log(blank.params / 1e6) + 0.01 * (blank.number * 5 % 7)
    reward = accuracy * (latency.latency_ms / TARGET_MS) ** -0.07
    times = {"finished_unix": 1e9 + 10 * blank.number, "training_s": 8.0}
    return replace(blank, status="ok", accuracy=accuracy, latency=latency, reward=reward, times=times)


def failed(blank: Trial) -> Trial:
    return replace(blank, status="failed", reason=NASTY)


def some_failed(blank: Trial) -> Trial:
    return failed(blank) if blank.number in (3, 4) else succeeded(blank)


def make_run(
    folder: Path,
    outcome: Callable[[Trial], Trial] = some_failed,
    *,
    stop_after: int = 10**6,
    recipe: str = RECIPE,
    calibration: Calibration = CALIBRATION,
) -> Config:
    """A run folder, its journal written by a study whose trials end in the wrong order."""
    config = parse_config(recipe, "test")
    with Run.create(config, "test", folder) as run:
        run.freeze(calibration, seed=0)
        study = Study(
            space=MNASNET,
            controller=build_controller(config.controller.name, MNASNET.choices, 0, config.controller.options),
            counts=small_counts,
            constraints=Constraints(),
            failure_reward=0.0,
            num_trials=config.trials,
            concurrency=2,
            journal=run,
            finished=[],
        )
        in_flight: list[int] = []
        while len(study.trials) < stop_after:
            while (assignment := study.next()) is not None:
                in_flight.append(assignment.number)
            if not in_flight:
                break
            study.complete(in_flight.pop(), outcome)
    return config


def add_finale(folder: Path, kernels: bool = True) -> Trial:
    """The winner and two published networks, one of them not measured."""
    best = max((t for t in read_trials(folder / "trials.jsonl") if t.status == "ok"), key=lambda t: t.reward)
    networks = {"winner": best.arch, "mobilenet_v2": get("mobilenet_v2"), "mnasnet_a1": get("mnasnet_a1")}
    latencies = {"winner": latency_of(2.0).to_dict(), "mobilenet_v2": latency_of(3.0).to_dict(), "mnasnet_a1": None}
    finalists = []
    for index, (name, arch) in enumerate(networks.items()):
        counts = small_counts(arch)
        finalists.append(Finalist(name, str(arch), counts.macs, counts.params, 360, 342 - index, latencies[name], 9.0))
    times = {op.name: 10.0 for op in lower(best.arch, 64, 1000).ops} if kernels else {}
    write_json(
        folder / "final.json",
        {
            "format": "nas-final",
            "version": FINAL_VERSION,
            "trial": best.number,
            "onnx_max_relative_difference": 1e-6,
            "winner_kernel_us": times,
            "finalists": [asdict(finalist) for finalist in finalists],
        },
    )
    return best


PHONE_MS = 9.0
TWO_DEVICES = Calibration(
    {
        "desk": CALIBRATION.devices["local"],
        "phone": DeviceCalibration(PHONE_MS, DeviceState(12.0, Spread(), replace(DEVICE, cpu="Armadillo"))),
    },
    "f00d",
)


def _on_two_devices(blank: Trial) -> Trial:
    """The phone ranks networks otherwise than the desk."""
    trial = some_failed(blank)
    if trial.latency is None:
        return trial
    return replace(trial, device_latencies={"desk": trial.latency, "phone": latency_of(5.0 + blank.number * 3 % 11)})


def make_run_on_two_devices(folder: Path) -> None:
    """A finished run folder; of three finalists two were measured, on both devices."""
    recipe = RECIPE.replace(
        "resolution: 64", "resolution: 64, devices: [{name: desk}, {name: phone}], over_devices: each"
    )
    make_run(folder, _on_two_devices, recipe=recipe, calibration=TWO_DEVICES)
    add_finale(folder)
    document = json.loads((folder / "final.json").read_text())
    for finalist in document["finalists"][:2]:
        both = {"desk": latency_of(2.5), "phone": latency_of(7.25)}
        finalist["device_latencies"] = {name: latency.to_dict() for name, latency in both.items()}
    (folder / "final.json").write_text(json.dumps(document))
