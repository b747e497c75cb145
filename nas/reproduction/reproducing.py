"""`nas reproduce`: search, NetAdapt, redesign, comparison, each a run of its own. Puts the stages together; no algorithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from latency.latency import Latency
from nas.errors import UserError
from nas.images import Images
from nas.netadapt.adaptation import UnreachableError
from nas.netadapt.uniform import NoMultiplierError, bisected
from nas.network import resolve_network
from nas.ray_cluster import Cluster, ray_cluster
from nas.reproduction.adapt_stage import adapted
from nas.reproduction.comparison_stage import compared, compared_again
from nas.reproduction.edit_trial import EditTrial
from nas.reproduction.redesign import all_edits
from nas.reproduction.redesigning import Trainings, redesigned
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_run import ADAPT, LANDING, RANDOM, SEARCH, SHORTLISTS, ReproduceRun
from nas.reproduction.search_stage import searched
from nas.reproduction.seed import Seed
from nas.reproduction.shortlist import Candidate, judged, shortlist_of, trained_shortlist
from nas.reproduction.shortlisted import best_of
from nas.reproduction.yardstick import opened_yardstick
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch

MARGIN = 1.03
"""Of the target, allowing for what the edits save: there NetAdapt before the edits stops, the rest is the landing's."""

AIM = 0.995
"""Of the target, for the landing: it is measured once more afterwards, and must not be above."""


def carry_on(run: ReproduceRun, images: Images, console: Console, ray_address: str | None = None) -> None:
    """Carry a reproduction to its end, from wherever it is.

    Args:
        run: new, or one that was interrupted.
        images: what its search trains on.
        console: shows progress.
        ray_address: of a cluster to join; None starts Ray on this machine.

    Raises:
        UserError: data or device are others than before, a stage failed, or the target is out of reach.
        SearchInterruptedError, KeyboardInterrupt: Ctrl-C.
    """
    run.check_data(images.dataset.fingerprint)
    _Session(run, images, console, ray_address).finish()


def found_again(run: ReproduceRun, arch: ArchSpec, images: Images, seed: int, console: Console) -> tuple[Latency, int]:
    """Latency and test images right of what a finished run has found, once more: trained with another seed.

    Raises:
        UserError: data or device are others than before, or it cannot be measured or trained.
    """
    run.check_data(images.dataset.fingerprint)
    with _Session(run, images, console, None).cluster():
        return compared_again(run, arch, images, seed, console)


def with_and_without_edits(arch: ArchSpec, config: ReproduceConfig) -> list[ArchSpec]:
    """What a seed may become by the edits alone; NetAdapt can only make it faster, so each must be slow enough."""
    return [arch, all_edits(arch, [section.edit for section in config.redesign.edits])]


@dataclass(frozen=True)
class _Session:
    run: ReproduceRun
    images: Images
    console: Console
    ray_address: str | None

    def say(self, stage: str, text: str) -> None:
        self.console.print(f"{stage:<9} {text}", highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """All stages that are not done."""
        if self.run.read("found") is None:
            self._find()
        if self.run.read("final") is None:
            networks = self._networks()
            with self.cluster() as cluster:
                self.say("dashboard", cluster.dashboard)
                self.run.write("final", compared(self.run, networks, self.images, self.console))

    def cluster(self) -> AbstractContextManager[Cluster]:
        """Ray, with room for the recipe's trainings."""
        search = self.run.config.search
        num_cpus = (search.concurrency or 1) * search.cpus_per_trial
        return ray_cluster(self.ray_address, num_cpus, search.cpus_per_trial, search.gpus_per_trial or 0.0)

    def _find(self) -> None:
        seed = self._seed()
        arch, stages = seed, [self._stage("seed", seed)]
        if self.run.config.order == "paper":
            arch = self._adapted_before_edits(seed, stages)
        if self.run.config.redesign.edits:
            arch = self._redesigned(arch)
            stages.append(self._stage("redesign", arch))
        latency, target_ms = self._measured(arch)
        if latency.latency_ms > target_ms:
            arch = self._adapted(LANDING, arch, AIM * target_ms / latency.latency_ms)
            stages.append(self._stage(LANDING, arch))
            latency, target_ms = self._measured(arch)
        self.say("found", f"{arch}: {latency.latency_ms:.3f} ms, target {target_ms:.3f} ms")
        self.run.write(
            "found",
            {"arch": str(arch), "latency": latency.to_dict(), "target_ms": target_ms, "stages": stages},
        )

    def _measured(self, arch: ArchSpec) -> tuple[Latency, float]:
        """Latency of `arch`, and the target in milliseconds."""
        with opened_yardstick(self.run) as yardstick:
            return yardstick.latency(arch), yardstick.target_ms()

    def _stage(self, name: str, arch: ArchSpec) -> dict[str, Any]:
        with opened_yardstick(self.run) as yardstick:
            return {"stage": name, "arch": str(arch), "latency": yardstick.latency(arch).to_dict()}

    def _seed(self) -> ArchSpec:
        """What NetAdapt and the edits begin with: found by the search, or named."""
        config, found = self.run.config, self.run.read("seed")
        if found is None:
            if config.network is not None:
                found = {"arch": str(resolve_network(config.network)), "trial": None}
            else:
                seed = self._best(SEARCH, self._least)
                found = {"arch": str(seed.arch), "trial": seed.trial.number, "multiplier": seed.multiplier}
            self.run.write("seed", found)
        wider = f", widths x {found['multiplier']:g}" if found.get("multiplier", 1) != 1 else ""
        origin = config.network if config.network else f"trial {found['trial']} of the search{wider}"
        self.say("seed", f"{origin}: {found['arch']}")
        return parse_arch(found["arch"])

    def _best(self, stage: str, least: Callable[[ArchSpec], Sequence[ArchSpec]]) -> Seed:
        """Of a search: its best trial, or the best of its best trials after a longer training."""
        trials = searched(self.run, stage, self.images, self.console, self.ray_address)
        with opened_yardstick(self.run) as yardstick, self.console.status("measuring the best trials ..."):
            candidates = shortlist_of(
                trials, self.run.config, yardstick.latency, yardstick.reference_ms, least, self._say_fitted
            )
        if self.run.config.shortlist == 1:
            return candidates[0].seed
        self.say("shortlist", f"the best {len(candidates)} trials, brought to the target, trained")
        with self.cluster():
            correct, num_holdout = trained_shortlist(self.run, stage, candidates, self.images, self.console)
        entries = judged(candidates, correct, num_holdout)
        document = {"num_holdout": num_holdout, "trials": [entry.to_dict() for entry in entries]}
        self.run.write(SHORTLISTS[stage], document)
        return candidates[entries.index(best_of(entries))].seed

    def _say_fitted(self, candidate: Candidate) -> None:
        if candidate.fitted is not None:
            fitted = candidate.fitted
            self.say(
                "measured",
                f"trial {candidate.seed.trial.number}: {fitted.multiplier:.2f} x its widths, {fitted.cost:.3f} ms",
            )

    def _least(self, arch: ArchSpec) -> list[ArchSpec]:
        return with_and_without_edits(arch, self.run.config)

    def _adapted_before_edits(self, seed: ArchSpec, stages: list[dict[str, Any]]) -> ArchSpec:
        with opened_yardstick(self.run) as yardstick:
            _, edited = self._least(seed)
            share = MARGIN * yardstick.target_ms() / yardstick.latency(edited).latency_ms
        if share >= 1:
            self.say("adapt", "skipped: the edits alone come down to the target")
            return seed
        arch = self._adapted(ADAPT, seed, share)
        stages.append(self._stage(ADAPT, arch))
        return arch

    def _adapted(self, stage: str, arch: ArchSpec, share: float) -> ArchSpec:
        """`arch` after NetAdapt to `share` of its latency."""
        self.say(stage, f"NetAdapt to {share:.3f} of the latency")
        try:
            return adapted(self.run, stage, arch, share, self.console, self.ray_address)
        except UnreachableError as error:
            raise UserError(f"{self.run.folder}/{stage}: {error}; take a slower target or other groups") from None

    def _redesigned(self, arch: ArchSpec) -> ArchSpec:
        config, images = self.run.config, self.images
        done = [EditTrial(**trial) for trial in (self.run.read("redesign") or {"trials": []})["trials"]]
        recipe = TrainingRecipe(**config.search.evaluator.training.model_dump())
        training, holdout = images.split(config.search)
        seeds = range(config.search.seed, config.search.seed + config.redesign.num_seeds)

        def finished(trial: EditTrial) -> None:
            done.append(trial)
            self.run.write("redesign", {"trials": [trial.to_dict() for trial in done]})
            self.say("redesign", f"{trial.edit}: {'kept' if trial.kept else 'left out'}, {trial.reason}")

        with self.cluster(), opened_yardstick(self.run) as yardstick:
            objective = config.search.objective.objective(yardstick.target_ms())
            threads = config.search.cpus_per_trial
            judged = Trainings(training, holdout, recipe, images.dataset.num_classes, seeds, threads)
            return redesigned(arch, config.redesign, objective, yardstick.latency, judged, tuple(done), finished)

    def _networks(self) -> dict[str, ArchSpec]:
        """Of the comparison: what was found, what it has to beat, what is simpler."""
        config, found = self.run.config, self.run.read("found")
        assert found is not None
        networks = {"found": parse_arch(found["arch"])}
        networks |= {name: resolve_network(name) for name in config.comparison.networks}
        if config.comparison.uniform:
            networks |= self._uniform("uniform", self._kept_edits(parse_arch(found["stages"][0]["arch"])))
        if config.comparison.random and config.network is None:
            networks |= self._uniform("random", self._best(RANDOM, lambda arch: [arch]).arch)
        return networks

    def _kept_edits(self, arch: ArchSpec) -> ArchSpec:
        redesign = self.run.read("redesign") or {"trials": []}
        return all_edits(arch, [trial["edit"] for trial in redesign["trials"] if trial["kept"]])

    def _uniform(self, name: str, arch: ArchSpec) -> dict[str, ArchSpec]:
        """`arch` brought to the target by the uniform multiplier; nothing, and that is said, where none does."""
        with opened_yardstick(self.run) as yardstick:

            def latency_ms(wide: ArchSpec) -> float:
                return yardstick.latency(wide).latency_ms

            try:
                found = bisected(arch, latency_ms, yardstick.target_ms(), latency_ms(arch))
            except NoMultiplierError as error:
                self.say(name, f"left out of the comparison: {error}")
                return {}
        self.say(name, f"uniform multiplier {found.multiplier:g}")
        return {name: found.arch}
