"""`nas adapt`: from a network to a ladder of narrower ones, each deployable. Puts the parts together; owns no algorithm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.console import Console

from latency.latency import Latency
from nas.evaluator import best_device
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.adapt_data import AdaptData, divided
from nas.netadapt.adapt_progress import AdaptProgress
from nas.netadapt.adapt_record import FINAL_FORMAT, SEED_FORMAT, UNIFORM_FORMAT, VERSION
from nas.netadapt.adapt_run import FINAL, SEED_TRAINING, UNIFORM, AdaptRun, Trajectory, keep_network, kept_network
from nas.netadapt.adaptation import Position, Rules, UnreachableError
from nas.netadapt.arms import Arms, Scored, nobody
from nas.netadapt.budget import Goal
from nas.netadapt.comparison import Compared, compare, from_scratch
from nas.netadapt.descent import Seed, descend, lottery, tournaments
from nas.netadapt.device import Device, opened_device
from nas.netadapt.measured_cost import MeasuredCost
from nas.netadapt.outcomes import outcomes
from nas.netadapt.plan import plan
from nas.netadapt.pricing import AsMeasured, AsPriced, Pricing
from nas.netadapt.seed_network import check_skill, seed_network
from nas.netadapt.selection import RULES
from nas.netadapt.step_record import StepRecord
from nas.netadapt.uniform import NoMultiplierError, Uniform, bisected, uniform
from nas.netadapt.weighted_network import WeightedNetwork
from nas.ray_cluster import ray_cluster
from nas.train_data import TrainingData
from search_spaces.arch import ArchSpec


def carry_on(
    run: AdaptRun,
    dataset: TrainingData,
    console: Console,
    workers: int | None = None,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Carry an adaptation to its end, from wherever it is.

    Args:
        run: new, or one that was interrupted.
        dataset: what its configuration names.
        console: shows progress.
        workers: tasks at once; as many as there are cores if not given. Nothing depends on it but time.
        ray_address: of a cluster to join; None starts Ray on this machine.

    Returns:
        What ``final.json`` says.

    Raises:
        UnreachableError: the target cannot be met; the steps before it stand.
        UserError: data or device are others than before, a task failed, or the target is out of reach from the start.
    """
    if (final := run.read("final")) is not None:
        return final
    run.check_data(dataset.fingerprint)
    config, data = run.config, divided(run.config, dataset)
    run.check_split(data.split)
    with opened_device(run, data.num_classes, console) as device:
        goal = _goal(config, data.num_classes, device, device.latencies() if device else None)
        if run.read("seed") is None:
            # says at the start what the schedule or the network cannot reach
            plan(
                config.network.name, config.arch, goal.model, config.reductions, goal.target, config.groups, goal.option
            )
            network = seed_network(config, run.folder / SEED_TRAINING, dataset, console)
        else:  # as it was then: the file of its weights may have changed since
            network = run.steps.network(0, config.training.data.resolution, data.num_classes)
        num_cpus = (workers or max(1, (os.cpu_count() or 1) // config.threads)) * config.threads
        with ray_cluster(ray_address, num_cpus, config.threads) as cluster:
            console.print(f"run       {run.folder}\ndashboard {cluster.dashboard}", highlight=False, soft_wrap=True)
            return _Session(run, data, dataset, console, device, network).finish()


def adapted_again(
    run: AdaptRun, dataset: TrainingData, arch: ArchSpec, seed: int, console: Console
) -> tuple[Latency | None, int]:
    """The network that a finished adaptation came to, measured and trained from scratch once more.

    What comes of it is kept in ``remeasured/`` of the run: with the same seed it is not trained twice.

    Returns:
        Its latency, None where nothing is measured, and the test images that it classifies right.

    Raises:
        UserError: data or device are others than before, or the training failed.
    """
    run.check_data(dataset.fingerprint)
    with opened_device(run, dataset.num_classes, console) as device:
        latency = device.latencies().measured(arch) if device else None
    folder = run.folder / "remeasured" / f"seed-{seed}"
    found = from_scratch("adapted", arch, seed, run.config, folder, dataset, console)
    return latency, int(found["num_correct"])


def _goal(config: AdaptConfig, num_classes: int, device: Device | None, latencies: MeasuredCost | None) -> Goal:
    """What is reduced, and how far; `latencies` price it, if there is a device."""
    return config.goal(num_classes, latencies, device.seed_latency.latency_ms if device else None)


@dataclass(frozen=True)
class _Session:
    """A run in progress: its parts, alive."""

    run: AdaptRun
    data: AdaptData
    dataset: TrainingData
    console: Console
    device: Device | None
    network: WeightedNetwork

    @property
    def config(self) -> AdaptConfig:
        return self.run.config

    @cached_property
    def goal(self) -> Goal:
        """At the prices before the first step."""
        latencies = self.device.latencies() if self.device else None
        return _goal(self.config, self.data.num_classes, self.device, latencies)

    def pricing(self, steps: Sequence[StepRecord]) -> Pricing:
        """That knows these steps."""
        if self.device is None:
            return AsPriced(self.goal.model)
        latencies = self.device.latencies(steps)
        return AsMeasured(_goal(self.config, self.data.num_classes, self.device, latencies).model, latencies)

    def finish(self) -> dict[str, Any]:
        """The steps, the baselines, the comparison."""
        config, seed = self.config, self._seed()
        target = self.goal.target.of(seed.cost)
        rules = config.rules(seed.cost, target)
        adapted = self._descent(seed, rules, self.run.steps, "adapted")
        networks = [Compared("seed", seed.network, seed.cost, seed.latency), adapted]
        if config.baselines:
            networks += self._baselines(seed, rules)
        compared = compare(networks, config, self.run.folder / FINAL, self.data, self.dataset, self.console)
        final = {
            "format": FINAL_FORMAT,
            "version": VERSION,
            "run": str(self.run.folder),
            "unit": self.goal.model.unit,
            "target": target,
            "networks": compared,
        }
        self.run.write("final", final)
        return final

    def _seed(self) -> Seed:
        """The network that the adaptation begins with; its accuracy is looked at once."""
        latency = self.device.seed_latency if self.device else None
        cost = self.goal.model.settled(self.network.arch, latency.latency_ms if latency else None)
        found = self.run.read("seed")
        if found is None:
            holdout = self.data.images.holdout.to(best_device())
            right = outcomes(self.network.module().to(holdout.device), holdout, "accuracy")
            accuracy = float(right.mean())
            check_skill(accuracy, self.data.num_classes, self.config.network.name)
            keep_network(self.run.steps.network_folder(0), self.network, self.data.sample, self.data.metadata)
            found = {
                "format": SEED_FORMAT,
                "version": VERSION,
                "network": self.config.network.name,
                "arch": str(self.network.arch),
                "cost": cost,
                "target": self.goal.target.of(cost),
                "unit": self.goal.model.unit,
                "latency": latency and latency.to_dict(),
                "accuracy": accuracy,
                "num_images": len(right),
                "weights": self.config.weights or "trained first",
            }
            self.run.write("seed", found)
        self.console.print(
            f"seed      {self.config.network.name}: {self.goal.model.text(cost)} at {self.config.latency.resolution} px; "
            f"right about {found['accuracy']:.1%} of {found['num_images']:,} held-out images of "
            f"{self.network.resolution} px",
            highlight=False,
            soft_wrap=True,
        )
        return Seed(self.network, cost, latency)

    def _descent(self, seed: Seed, rules: Rules, trajectory: Trajectory, name: str) -> Compared:
        """Down to the target by the rules, or by lot."""
        judging, model = self.config.judging, self.goal.model
        with AdaptProgress(self.console, model.text, rules.target, seed.cost, name) as progress:
            progress.resumed(trajectory.records)
            arms = self._arms(trajectory, progress.scored)
            rule = RULES[judging.selection]
            make_judge = tournaments if name == "adapted" else lottery
            network = descend(
                seed,
                rules,
                trajectory,
                self.pricing(trajectory.records),
                arms,
                make_judge(self.config, arms, rule),
                judging.num_steps,
                self.data,
                progress.accepted,
            )
        last = trajectory.records[-1] if trajectory.records else None
        return Compared(name, network, last.cost if last else seed.cost, last.latency if last else seed.latency)

    def _arms(self, trajectory: Trajectory, scored: Scored = nobody) -> Arms:
        config = self.config
        return Arms(
            self.data.images,
            config.treatment,
            config.judging.signal,
            config.seed,
            config.threads,
            trajectory.scores_folder,
            scored,
        )

    def _baselines(self, seed: Seed, rules: Rules) -> Iterator[Compared]:
        """The uniform multiplier and random steps; one that does not come down to the target is left out, and that is said."""
        baselines: dict[str, Callable[[], Compared]] = {
            "uniform": lambda: self._uniform(seed, rules.target, len(self.run.steps.records)),
            "random": lambda: self._descent(seed, rules, self.run.random_steps, "random"),
        }
        for name, made in baselines.items():
            try:
                yield made()
            except (NoMultiplierError, UnreachableError) as error:
                self.console.print(f"{name:<9} left out of the comparison: {error}", highlight=False, soft_wrap=True)

    def _uniform(self, seed: Seed, target: float, num_accepted: int) -> Compared:
        """The uniform width multiplier of the same cost, trained as much as the adapted network was."""
        folder, found = self.run.folder / UNIFORM, self.run.read(UNIFORM)
        if found is None:
            landed, latency = self._landed(seed, target)
            arms = self._arms(self.run.steps)
            num_steps = self.config.judging.num_steps * num_accepted
            network, right = arms.finish(seed.network, Position(seed.network.arch, seed.cost), landed.arch, num_steps)
            keep_network(folder, network, self.data.sample, self.data.metadata)
            found = {
                "format": UNIFORM_FORMAT,
                "version": VERSION,
                "multiplier": landed.multiplier,
                "arch": str(landed.arch),
                "cost": landed.cost,
                "latency": latency and latency.to_dict(),
                "accuracy": float(right.mean()),
                "num_images": len(right),
            }
            self.run.write(UNIFORM, found)
        network = kept_network(folder, seed.network.resolution, seed.network.num_classes)
        latency = found["latency"] and Latency.from_dict(found["latency"])
        return Compared("uniform", network, found["cost"], latency)

    def _landed(self, seed: Seed, target: float) -> tuple[Uniform, Latency | None]:
        """The widest uniform network within the target, and its latency: where there is a device, as it is measured.

        Raises:
            NoMultiplierError: none is within the target.
        """
        model, device = self.goal.model, self.device
        if device is None:
            return uniform(seed.network.arch, model.cost, target), None
        latencies: dict[ArchSpec, Latency] = {}

        def settled(arch: ArchSpec) -> float:
            latencies[arch] = device.latencies().measured(arch)
            return model.settled(arch, latencies[arch].latency_ms)

        found = bisected(seed.network.arch, settled, target, seed.cost)
        return found, latencies[found.arch]
