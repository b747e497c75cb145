"""The only file that speaks to Ray Tune: a candidate as a Trainable, a study as a Searcher."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.search import Searcher

from latency.latency import Latency
from latency.measurement import Measurement
from nas.config import Config
from nas.evaluator import Evaluation, Evaluator
from nas.over_devices import DeviceObjectives
from nas.own_interrupts import own_interrupts
from nas.quote import Quote, Quoter
from nas.study import Assignment, Study
from nas.trial import Trial
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch


@dataclass(frozen=True)
class Services:
    """What a trial needs; shipped to its process once.

    Attributes:
        evaluator: says how accurate.
        meters: device name -> handle of the actor that measures there; empty where nothing is measured.
        seed: of the study.
        num_threads: CPU threads of training.
    """

    evaluator: Evaluator
    meters: Mapping[str, Any]
    seed: int
    num_threads: int


def trial_seed(study_seed: int, number: int) -> int:
    """Seed of one trial's training; independent streams for neighbouring numbers."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


class CandidateTrial(tune.Trainable):
    """Trains one network while the devices measure it, or before they do; a step is an epoch.

    In the dashboard it is an actor called after its trial and architecture; where a trial takes less time than a process
    takes to start, actors are used again, and are called after their first trial.
    """

    def setup(self, config: dict[str, Any], services: Services) -> None:  # type: ignore[override]  # tune.with_parameters
        """Start the measurements that are due, prepare the training."""
        import torch

        torch.set_num_threads(services.num_threads)
        self._services = services
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self._number, self._arch = config["number"], config["arch"]
        self._quote = Quote.from_dict(json.loads(config["quote"]))
        self._measuring = self._ask_devices() if self._quote.measures_at_once else {}
        self._evaluations: Iterator[Evaluation] = self._services.evaluator.evaluate(
            parse_arch(self._arch), trial_seed(self._services.seed, self._number)
        )
        self._latest: Evaluation | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go over to another trial in the same process."""
        self._begin(new_config)
        return True

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the recipe grants to a trial."""
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def __repr__(self) -> str:
        return f"trial {self._number} {self._arch}"

    def step(self) -> dict[str, Any]:
        """One evaluation further; whatever goes wrong is the trial's outcome, not the study's end."""
        try:
            return self._advance()
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}")

    def _ask_devices(self) -> dict[str, Any]:
        """Device name -> the answer to come."""
        return {name: meter.measure.remote(self._arch) for name, meter in self._services.meters.items()}

    def _advance(self) -> dict[str, Any]:
        if failure := self._quote.failure:
            return self._failed(f"latency: {failure}")
        evaluation = next(self._evaluations, None)
        if evaluation is None:
            return self._outcome()
        self._report(evaluation)
        self._latest = evaluation
        return {"number": self._number, "accuracy": evaluation.accuracy, "done": False}

    def _report(self, evaluation: Evaluation) -> None:
        print(f"trial {self._number}, epoch {evaluation.epoch}: accuracy {evaluation.accuracy:.4f}", flush=True)

    def _outcome(self) -> dict[str, Any]:
        evaluation = self._latest
        assert evaluation is not None, "an evaluator gives at least one evaluation"
        if self._quote.measures_after(evaluation.accuracy):
            self._measuring = self._ask_devices()
        latencies = self._quote.to_dict()["latencies"]
        measurements = {}
        for name, reply in self._measuring.items():
            latencies[name], measurements[name] = ray.get(reply)
        outcome = {
            "accuracy": evaluation.accuracy,
            "seconds": evaluation.seconds,
            "latencies": latencies,
            "measurements": measurements,
        }
        return self._done(outcome, evaluation.accuracy)

    def _failed(self, reason: str) -> dict[str, Any]:
        return self._done({"failure": " ".join(reason.split())[:500]}, 0.0)

    def _done(self, outcome: dict[str, Any], accuracy: float) -> dict[str, Any]:
        # One string, for Tune flattens nested results.
        return {"number": self._number, "accuracy": accuracy, "outcome": json.dumps(outcome), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: an interrupted trial is run again from its seed."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


@dataclass(frozen=True)
class Observer:
    """Who is told of progress, in the driver: each estimate of a running trial, and each finished trial."""

    estimates: Sequence[Callable[[int, float], None]]
    finished: Callable[[Trial], None]


class ControllerSearcher(Searcher):
    """A study as Tune's source of trials.

    Args:
        study: hands out and takes back.
        objectives: make the reward.
        quoter: says what is known of a candidate's latencies.
        keep_samples: called with trial number, device, architecture, latency and raw samples, before the trial is
            journalled.
        observer: told of progress.
        quiet: is it a good moment to start a process? Asked before each trial.
        cpus: of each trial.
        gpus: of each trial; a fraction shares one.
    """

    def __init__(
        self,
        study: Study,
        objectives: DeviceObjectives,
        quoter: Quoter,
        keep_samples: Callable[[int, str, ArchSpec, Latency, Sequence[Measurement]], None],
        observer: Observer,
        quiet: Callable[[], bool],
        *,
        cpus: int,
        gpus: float,
    ) -> None:
        super().__init__(metric="accuracy", mode="max")
        self._study = study
        self._objectives = objectives
        self._quoter = quoter
        self._keep_samples = keep_samples
        self._observer = observer
        self._quiet = quiet
        self._cpus, self._gpus = cpus, gpus
        self._running: dict[str, Assignment] = {}  # Tune's trial id -> what it tries
        self._starting: set[str] = set()  # of these, no result has been seen

    @property
    def num_running(self) -> int:
        """Trials handed to Tune that have not come back."""
        return len(self._running)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a string
        """Configuration of the next trial; None: ask later."""
        if self._study.done:
            return str(Searcher.FINISHED)
        if self._starting or not self._quiet():
            return None
        assignment = self._study.next()
        if assignment is None:
            return str(Searcher.FINISHED) if self._study.done else None
        self._running[trial_id] = assignment
        self._starting.add(trial_id)
        quote = self._quoter.quote(assignment.arch, self._study.told)
        return {
            "number": assignment.number,
            "arch": str(assignment.arch),
            "quote": json.dumps(quote.to_dict()),  # one string, for Tune searches nested ones for distributions
            "cpus": self._cpus,
            "gpus": self._gpus,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A running trial has a better estimate."""
        self._starting.discard(trial_id)
        if trial_id in self._running:
            for told in self._observer.estimates:
                told(self._running[trial_id].number, result["accuracy"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial came back, or its process died."""
        self._starting.discard(trial_id)
        assignment = self._running.pop(trial_id, None)
        if assignment is None:
            return
        if error or not result or "outcome" not in result:
            if not error:  # stopped from outside, by Ctrl-C: not an outcome; the trial is run again on resume
                return
            outcome: dict[str, Any] = {"failure": "the trial's process died (killed, or out of memory)"}
        else:
            outcome = json.loads(result["outcome"])
        finished = self._study.complete(assignment.number, lambda blank: self._fill(blank, outcome))
        self._observer.finished(finished)

    def _fill(self, blank: Trial, outcome: dict[str, Any]) -> Trial:
        times = {"finished_unix": round(time.time(), 3)}
        if "failure" in outcome:
            return replace(blank, status="failed", reason=outcome["failure"], times=times)
        latencies = {name: Latency.from_dict(latency) for name, latency in outcome["latencies"].items()}
        for name, measurements in outcome["measurements"].items():
            samples = [Measurement.from_dict(measurement) for measurement in measurements]
            self._keep_samples(blank.number, name, blank.arch, latencies[name], samples)
        times["training_s"] = round(outcome["seconds"], 3)
        done = replace(
            blank,
            accuracy=outcome["accuracy"],
            latency=self._objectives.latency(latencies),
            device_latencies=latencies if len(latencies) > 1 else {},
            times=times,
        )
        assert done.latency is not None
        if done.latency.status == "failed":
            return replace(done, status="failed", reason=f"latency: {done.latency.reason}")
        reward = self._objectives.reward(outcome["accuracy"], latencies)
        return replace(done, status="ok", reward=reward, reason=None)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that we never ask for: the journal is what a run resumes from.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for it; the journal is what a run resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """As `save`."""


def run_trials(searcher: ControllerSearcher, services: Services, config: Config, storage: Path) -> None:
    """Run trials until the study is done, or somebody presses Ctrl-C.

    Args:
        searcher: where trials come from and outcomes go.
        services: what each trial gets.
        config: concurrency.
        storage: Tune's own folder; absolute.
    """
    trainable = tune.with_parameters(CandidateTrial, services=services)
    trainable.__qualname__ = CandidateTrial.__qualname__  # what the dashboard shows, and process lists
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=config.concurrency,
            reuse_actors=config.evaluator.name != "train",
        ),
        run_config=tune.RunConfig(name=f"tune-{int(time.time())}", storage_path=str(storage), verbose=0),
    )
    with own_interrupts():
        tuner.fit()
