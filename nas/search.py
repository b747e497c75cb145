"""`nas search`: from a recipe to a finished network. Puts the parts together; owns no algorithm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from controllers.build import build_controller
from controllers.controller import Controller
from controllers.reinforce import ReinforceController
from latency.latency import Latency
from latency.measuring_lock import is_measuring
from nas.announcing_journal import AnnouncingJournal
from nas.arch_table import file_digest
from nas.bench import Bench, opened_bench
from nas.calibration import Calibration
from nas.calibration_images import calibration_images
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import Evaluator
from nas.evaluators import build_evaluator, supernet_evaluator
from nas.finale import FinalLatency, FinalTraining, Weights, export_winner, train_finalists
from nas.finalist import FINAL_VERSION, WINNER, Finalist
from nas.images import Images
from nas.latency_table import keep_table
from nas.network import resolve_network
from nas.one_shot import Prices, one_shot
from nas.over_devices import DeviceObjectives, objectives_told
from nas.policy_file import settled_policy, write_policy
from nas.progress import SearchProgress
from nas.ray_cluster import Cluster, ray_cluster
from nas.ray_gauges import SearchGauges
from nas.ray_tune import ControllerSearcher, Observer, Services, run_trials
from nas.run import TABLE, Run
from nas.run_folder import write_json
from nas.study import Constraints, ReplayError, Study
from nas.supernet_evaluator import SupernetEvaluator
from nas.table_trust import NUM_NETWORKS, check_prices
from nas.tensorboard_curves import SearchCurves
from nas.trial import Trial, best_trial
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts, count
from search_spaces.lower import lower


class SearchInterruptedError(Exception):
    """Ctrl-C: the run can be resumed."""


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
        room = config.cpus_per_trial, config.gpus_per_trial or 0.0
        cluster = stack.enter_context(ray_cluster(ray_address, num_cpus, *room))
        console.print(f"run       {run.folder}\ndashboard {cluster.dashboard}", highlight=False, soft_wrap=True)
        session = stack.enter_context(_session(run, images, cluster, console))
        gauges = SearchGauges(run.folder.resolve().name, config.trials, session.objectives.first.target_ms)
        curves = stack.enter_context(SearchCurves(run.folder))
        trials = session.run_trials(stack.enter_context(gauges), curves)
        return session.finish(trials) if config.final else []


def winner_again(run: Run, images: Images, arch: ArchSpec, seed: int, console: Console) -> Finalist:
    """The winner of a finished run, measured and trained once more, as its final comparison did but with `seed`.

    What comes of it is kept in ``remeasured/`` of the run: with the same seed it is not done twice.

    Raises:
        UserError: data or device are others than before, or the training failed.
    """
    config = run.config
    folder = run.folder / "remeasured" / f"seed-{seed}"
    with (
        ray_cluster(None, (config.concurrency or 1) * config.cpus_per_trial) as cluster,
        _session(run, images, cluster, console) as session,
    ):
        (found,) = train_finalists(
            [FinalTraining(WINNER, arch, seed, folder)],
            {},
            session.measured,
            images.training,
            images.test,
            images.dataset.num_classes,
            config,
            lambda done: console.print(f"trained {done.name} with seed {seed}", highlight=False),
        )
    return found


@dataclass(frozen=True)
class _Session:
    """A run in progress: its parts, alive."""

    run: Run
    images: Images | None
    cluster: Cluster
    console: Console
    bench: Bench
    objectives: DeviceObjectives

    @property
    def config(self) -> Config:
        return self.run.config

    def counts(self, arch: ArchSpec) -> Counts:
        section = self.config.latency
        return count(lower(arch, section.resolution, section.num_outputs))

    def run_trials(self, gauges: SearchGauges, curves: SearchCurves) -> list[Trial]:
        config = self.config
        evaluator, controller = self._chosen()
        finished = self.run.finished_trials()
        study = Study(
            space=config.search_space,
            controller=controller,
            counts=self.counts,
            constraints=Constraints(**config.constraints.model_dump()),
            failure_reward=self.objectives.failure_reward,
            num_trials=config.trials,
            concurrency=config.concurrency or 1,
            journal=AnnouncingJournal(self.run, finished, (gauges.finished, curves.finished)),
            finished=finished,
            objectives=partial(objectives_told, config.latency.over_devices),
        )
        with SearchProgress(self.console, config.trials, self.objectives.first.target_ms) as progress:
            progress.resume(finished)
            searcher = ControllerSearcher(
                study,
                self.objectives,
                self.bench.quoter(),
                self.run.append_latency,
                Observer((progress.estimate, gauges.estimate), progress.finished),
                quiet=self._quiet,
                cpus=config.cpus_per_trial,
                gpus=config.gpus_per_trial or 0.0,
            )
            try:
                run_trials(searcher, self._services(evaluator), config, (self.run.folder / "ray").resolve())
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

    def _chosen(self) -> tuple[Evaluator, Controller]:
        """What gives accuracies, ready, and who chooses candidates, fresh."""
        config, choices = self.config, self.config.search_space.choices
        if config.evaluator.name == "one_shot":
            trained, learned = self._one_shot()
            write_policy(self.run.folder, choices, learned)
            return trained, settled_policy(self.run.folder, choices, config.seed)
        evaluator = build_evaluator(config, self.images, self.console)
        return evaluator, build_controller(config.controller.name, choices, config.seed, config.controller.options)

    def _one_shot(self) -> tuple[SupernetEvaluator, ReinforceController]:
        assert self.images is not None
        prices = Prices(self.bench.quoter(), self.objectives, self.counts, file_digest(self.run.folder / TABLE))
        return one_shot(self.config, self.images, prices, self.console)

    def _quiet(self) -> bool:
        # A process that starts on the machine that measures would disturb the meter
        return not (self.bench.trial_actors and self.cluster.started_here and is_measuring())

    def _services(self, evaluator: Evaluator) -> Services:
        config = self.config
        return Services(
            evaluator=evaluator,
            meters=self.bench.trial_actors,
            seed=config.seed,
            num_threads=config.cpus_per_trial,
        )

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
                [FinalTraining(name, arch, config.seed, run.folder / "final") for name, arch in networks.items()],
                {WINNER: self._inherited(best.arch)} if config.final.inherit else {},
                self.measured,
                images.training,
                images.test,
                images.dataset.num_classes,
                config,
                lambda done: self.console.print(f"trained {done.name}", highlight=False),
            )
            weights = run.folder / "final" / f"{WINNER}.safetensors"
            difference = export_winner(best.arch, weights, images.test, images.dataset.class_names, run.folder / "best")
            kernels = self.bench.kernel_times_us(best.arch)
        write_json(
            run.folder / "final.json",
            {
                "format": "nas-final",
                "version": FINAL_VERSION,
                "trial": best.number,
                "onnx_max_relative_difference": difference,
                "winner_kernel_us": kernels,
                "finalists": [{field: getattr(f, field) for field in f.__dataclass_fields__} for f in finalists],
            },
        )
        return finalists

    def _inherited(self, arch: ArchSpec) -> Weights:
        assert self.images is not None
        one_shot = self.config.evaluator.name == "one_shot"
        evaluator, _ = self._one_shot() if one_shot else supernet_evaluator(self.config, self.images, self.console)
        return dict(evaluator.inherited(arch, self.images.split(self.config)[0]).state_dict())

    def measured(self, arch: ArchSpec) -> FinalLatency | None:
        """As carefully as the final comparison is; None where nothing is measured."""
        assert self.config.final is not None
        found = self.bench.measure(arch, self.config.final.grade)
        if found is None:
            return None
        return FinalLatency(self.objectives.latency(found), found if len(found) > 1 else {})


@contextlib.contextmanager
def _session(run: Run, images: Images | None, cluster: Cluster, console: Console) -> Iterator[_Session]:
    """The parts of a run, with devices calibrated, or checked against the calibration that the run began with."""
    config, frozen = run.config, run.calibration()
    fingerprint = _data_fingerprint(config, images)
    if frozen and frozen.data_fingerprint != fingerprint:
        raise UserError(f"{run.folder}: the data set has changed since the run began; restore it, or begin a new run")
    deployment = config.latency.deployment
    sample = calibration_images(images, deployment) if images and deployment.dtype == "int8" else None
    with opened_bench(run, sample, console) as bench:
        if frozen is None:
            _check_table(bench, console)
            frozen = Calibration(bench.calibrated(), fingerprint)
            run.freeze(frozen, config.seed)
        objectives = frozen.objectives(config.objective, config.latency.over_devices)
        for device in config.latency.all_devices:
            where = f" on {device.name}" if len(objectives.by_device) > 1 else ""
            target_ms, text = objectives.by_device[device.name].target_ms, device.target or config.objective.target
            console.print(f"target    {target_ms:.3f} ms ({text}){where}", highlight=False)
        yield _Session(run, images, cluster, console, bench, objectives)


def _data_fingerprint(config: Config, images: Images | None) -> str | None:
    """Of all that accuracies come from, images and a table; None where a record has them."""
    of_images = images.dataset.fingerprint if images else None
    if config.evaluator.name != "table":
        return of_images
    assert config.evaluator.table is not None
    of_table = file_digest(Path(config.evaluator.table))
    return f"{of_images} {of_table}" if of_images else of_table


def _check_table(bench: Bench, console: Console) -> None:
    """Compare a new run's table with the device, and give the run a copy of its own."""
    config, (device, *_) = bench.run.config, bench.run.config.latency.all_devices
    if bench.table is None:
        return
    assert config.latency.table is not None

    def measure(arch: ArchSpec) -> Latency:
        latency = bench.measure_on(device.name, arch)
        assert latency is not None, "a device says at least why it has none"
        return latency

    with console.status("checking the latency table ..."):
        error = check_prices(bench.table, config.latency.table, config.search_space, config.seed, measure)
    console.print(f"table     {config.latency.table}, off by {error:.1%} on {NUM_NETWORKS} networks", highlight=False)
    keep_table(bench.table, bench.run.folder / TABLE)
