"""`nas search`: from a recipe to a finished network. Puts the parts together; owns no algorithm."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console

from controllers.build import build_controller
from latency.cores import available_cores
from latency.latency import Latency
from latency.measurement import Measurement
from latency.measuring_lock import is_measuring
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import Evaluator, RecordedEvaluator, check_recorded_run
from nas.finale import WINNER, Finalist, check_baselines, export, train_finalists
from nas.images import Images
from nas.network import resolve_network
from nas.objective import Target
from nas.progress import SearchProgress
from nas.ray_cluster import Cluster, measuring_actor, ray_cluster
from nas.ray_tune import ControllerSearcher, Observer, Services, run_trials
from nas.recorded_latency import RecordedLatency
from nas.run import Calibration, Run, write_json
from nas.study import Constraints, ReplayError, Study
from nas.trial import Trial, best_trial
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts, count
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.space import SearchSpace

SPACES = {MNASNET.name: MNASNET}


class SearchInterruptedError(Exception):
    """Ctrl-C: the run can be resumed."""


def check(config: Config) -> None:
    """Raise UserError for what cannot work, as far as can be told without reading the data or starting anything."""
    cpus = _num_cpus()
    if config.cpus_per_trial > cpus:
        raise UserError(f"cpus_per_trial = {config.cpus_per_trial}: this machine has {cpus}")
    for name in (config.latency.reference, Target.parse(config.objective.target).network, *_baselines(config)):
        if name:
            resolve_network(name)
    check_baselines(_baselines(config))
    for section in (config.evaluator, config.latency):
        if section.name == "recorded":
            if section.run is None:
                raise UserError("recorded accuracies and latencies need the run that recorded them: set its `run`")
            check_recorded_run(Path(section.run))
    try:
        build_controller(config.controller.name, MNASNET.choices, config.seed, config.controller.options)
    except ValueError as error:
        raise UserError(f"controller: {error}") from None


def resolved(config: Config, images: Images | None) -> Config:
    """`config` complete: this machine's concurrency and devices, the data's classes, paths that hold in any folder."""
    concurrency = config.concurrency or max(1, _num_cpus() // config.cpus_per_trial)
    gpus = config.gpus_per_trial
    if gpus is None:  # Ray hides CUDA devices from actors that ask for none
        gpus = min(1.0, torch.cuda.device_count() / concurrency)
    num_classes = config.latency.num_classes or (images.dataset.num_classes if images else config.latency.num_outputs)
    latency = config.latency.model_copy(update={"num_classes": num_classes, "run": _absolute(config.latency.run)})
    evaluator = config.evaluator.model_copy(update={"run": _absolute(config.evaluator.run)})
    source = config.data.source if config.data.source == "digits" else _absolute(config.data.source)
    sections = {"latency": latency, "evaluator": evaluator, "data": config.data.model_copy(update={"source": source})}
    return config.model_copy(update={"concurrency": concurrency, "gpus_per_trial": gpus, **sections})


def _num_cpus() -> int:
    return len(available_cores()) or os.cpu_count() or 1


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def _baselines(config: Config) -> list[str]:
    return list(config.final.baselines) if config.final else []


def search(run: Run, images: Images | None, console: Console, ray_address: str | None = None) -> list[Finalist]:
    """Carry a run to its end, from wherever it is.

    Args:
        run: new, or one that was interrupted; its configuration resolved.
        images: what `load_images` gives for it.
        console: shows progress.
        ray_address: of a cluster to join; None starts Ray on this machine.

    Returns:
        The final comparison, the winner first; empty where the recipe has none.

    Raises:
        SearchInterruptedError: Ctrl-C.
        UserError: the data, the cluster or the record cannot be used; or the search had to be given up.
    """
    torch.set_num_threads(1)  # the controller's small networks only lose by more, and the cores are for the trials
    config = run.config
    with contextlib.ExitStack() as stack:
        num_cpus = (config.concurrency or 1) * config.cpus_per_trial
        cluster = stack.enter_context(ray_cluster(ray_address, num_cpus))
        console.print(f"run       {run.folder}\ndashboard {cluster.dashboard}", highlight=False, soft_wrap=True)
        session = stack.enter_context(_session(run, images, cluster, console))
        trials = session.run_trials()
        return session.finish(trials) if config.final else []


@dataclass(frozen=True)
class _Session:
    """A run in progress: its parts, alive."""

    run: Run
    images: Images | None
    cluster: Cluster
    console: Console
    meter: Any  # handle of the measuring actor, or None
    recorded_latency: RecordedLatency | None
    calibration: Calibration

    @property
    def config(self) -> Config:
        return self.run.config

    def counts(self, arch: ArchSpec) -> Counts:
        section = self.config.latency
        return count(lower(arch, section.resolution, section.num_outputs))

    def run_trials(self) -> list[Trial]:
        config = self.config
        space: SearchSpace = SPACES[config.space]
        objective = config.objective.objective(self.calibration.target_ms)
        finished = self.run.finished_trials()
        study = Study(
            space=space,
            controller=build_controller(config.controller.name, space.choices, config.seed, config.controller.options),
            counts=self.counts,
            constraints=Constraints(**config.constraints.model_dump()),
            failure_reward=objective.failure_reward,
            num_trials=config.trials,
            concurrency=config.concurrency or 1,
            journal=self.run,
            finished=finished,
        )
        with SearchProgress(self.console, config.trials, objective.target_ms) as progress:
            progress.resume(finished)
            searcher = ControllerSearcher(
                study,
                objective,
                self.run.append_latency,
                Observer(progress.estimate, progress.finished),
                quiet=self._quiet,
                cpus=config.cpus_per_trial,
                gpus=config.gpus_per_trial or 0.0,
            )
            try:
                run_trials(searcher, self._services(), config, (self.run.folder / "ray").resolve())
            except ReplayError as error:
                raise UserError(f"{self.run.folder}: {error}") from None
        study.settle()
        if not study.done or not study.complete_so_far:
            raise SearchInterruptedError
        if study.stop_reason:
            self.console.print(f"stopped: {study.stop_reason}", markup=False, style="yellow")
        if best_trial(study.trials) is None:
            raise UserError(f"no trial succeeded: {study.stop_reason or 'see trials.jsonl'}")
        return study.trials

    def _quiet(self) -> bool:
        # A process that starts on the machine that measures would disturb the meter
        return not (self.meter and self.cluster.started_here and is_measuring())

    def _services(self) -> Services:
        config = self.config
        return Services(
            evaluator=self._evaluator(),
            recorded_latency=self.recorded_latency,
            meter=self.meter,
            meter_node=ray.get_runtime_context().get_node_id() if self.meter else None,
            seed=config.seed,
            num_threads=config.cpus_per_trial,
        )

    def _evaluator(self) -> Evaluator:
        section = self.config.evaluator
        if section.name == "recorded":
            assert section.run is not None
            return RecordedEvaluator.of_run(Path(section.run))
        assert self.images is not None
        return self.images.evaluator(self.config)

    def measure(self, arch: ArchSpec) -> Latency | None:
        """Latency of a network outside the search, its samples kept."""
        if self.meter is None:
            return self.recorded_latency.find(arch) if self.recorded_latency else None
        latency, samples = ray.get(self.meter.measure.remote(str(arch)))
        found = Latency.from_dict(latency)
        self.run.append_latency(None, arch, found, Measurement.from_dict(samples))
        return found

    def finish(self, trials: list[Trial]) -> list[Finalist]:
        """Final trainings, the exported winner, its profile."""
        config, images, run = self.config, self.images, self.run
        assert config.final is not None
        assert images is not None
        best = best_trial(trials)
        assert best is not None
        networks = {WINNER: best.arch, **{name: resolve_network(name) for name in config.final.baselines}}
        with self.console.status("measuring and training the winner and the published networks ..."):
            finalists = train_finalists(
                networks,
                self.measure,
                images.training,
                images.test,
                images.dataset.num_classes,
                config,
                run.folder / "final",
                lambda name: self.console.print(f"trained {name}", highlight=False),
            )
            weights = run.folder / "final" / f"{WINNER}.safetensors"
            difference = export(best.arch, weights, images.test, images.dataset.class_names, run.folder / "best")
            kernels: Mapping[str, float] = (
                ray.get(self.meter.kernel_times_us.remote(str(best.arch))) if self.meter else {}
            )
        write_json(
            run.folder / "final.json",
            {
                "format": "nas-final",
                "version": 1,
                "trial": best.number,
                "onnx_max_relative_difference": difference,
                "winner_kernel_us": kernels,
                "finalists": [{field: getattr(f, field) for field in f.__dataclass_fields__} for f in finalists],
            },
        )
        return finalists


@contextlib.contextmanager
def _session(run: Run, images: Images | None, cluster: Cluster, console: Console) -> Iterator[_Session]:
    """The parts of a run, with latency calibrated, or checked against the calibration that the run began with."""
    config, frozen = run.config, run.calibration()
    fingerprint = images.dataset.fingerprint if images else None
    if frozen and frozen.data_fingerprint != fingerprint:
        raise UserError(f"{run.folder}: the data set has changed since the run began; restore it, or begin a new run")
    with contextlib.ExitStack() as stack:
        meter = recorded = device = None
        reference_ms = frozen.reference_ms if frozen else None
        if config.latency.name == "measure":
            meter = stack.enter_context(measuring_actor(config.latency, reference_ms))
            with console.status("calibrating the latency meter ..."):
                reference_ms, device = ray.get([meter.reference_ms.remote(), meter.device.remote()])
            if frozen and frozen.device != device:
                raise UserError(f"{run.folder}: begun on {frozen.device}; latencies of {device} cannot be mixed in")
        else:
            assert config.latency.run is not None
            recorded = RecordedLatency.of_run(Path(config.latency.run))
        session = _Session(run, images, cluster, console, meter, recorded, frozen or Calibration(1, None, None, None))
        if frozen is None:
            calibration = Calibration(_target_ms(session), reference_ms, device, fingerprint)
            run.freeze(calibration, config.seed)
            session = _Session(run, images, cluster, console, meter, recorded, calibration)
        console.print(f"target    {session.calibration.target_ms:.3f} ms ({config.objective.target})", highlight=False)
        yield session


def _target_ms(session: _Session) -> float:
    target = Target.parse(session.config.objective.target)
    if target.network is None:
        return target.value
    latency = session.measure(resolve_network(target.network))
    if latency is None or latency.status == "failed":
        raise UserError(
            f"objective.target {session.config.objective.target!r}: no latency of {target.network}; "
            "write the target in milliseconds (3.5ms)"
        )
    return target.value * latency.latency_ms
