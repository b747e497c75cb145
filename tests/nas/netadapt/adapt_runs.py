"""Run folders of ``nas adapt`` for the tests of what is shown of them, made without training or measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from latency.latency import Latency
from nas.jsonl import JsonLines
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.proposal import Proposal, offer
from nas.netadapt.step_record import FORMAT, VERSION, CandidateRecord, StepRecord
from nas.run_folder import write_json
from nas.strict_yaml import dump_yaml
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower

SEED = parse_arch(
    "stem_k3_s22_o16 r1_k3_s11_e1_i16_o16_noskip r1_k3_s22_e3_i16_o24 r1_k3_s11_e4_i24_o24 "
    "r1_k5_s22_e3_i24_o40 r1_k5_s11_e3_i40_o40 head_o64"
)
"""Block 3 and block 5 have skips, so that blocks 2-3 and 4-5 share bottlenecks."""
UNIFORM = (
    "stem_k3_s22_o16 r1_k3_s11_e1_i16_o16_noskip r1_k3_s22_e3_i16_o16 r1_k3_s11_e4_i16_o16 "
    "r1_k5_s22_e3_i16_o32 r1_k5_s11_e3_i32_o32 head_o56"
)
RESOLUTION, NUM_CLASSES, NUM_IMAGES, NUM_TEST = 32, 10, 1000, 1000
SEED_MS, TARGET_MS, SEED_ACCURACY = 4.0, 3.2, 0.8
NASTY = "<script>alert('net')</script> & more"


def macs(arch: ArchSpec) -> float:
    return float(count(lower(arch, RESOLUTION, NUM_CLASSES)).macs)


def latency_of(ms: float, reference_ms: float = 4.0, share: float = 0.01) -> Latency:
    ratio, low, high = ms / reference_ms, 1 - share, 1 + share
    return Latency(ms, (ms * low, ms * high), ratio, (ratio * low, ratio * high), "ok", "measured", 20, 1)


def made_ms(arch: ArchSpec) -> float:
    """Milliseconds that follow the multiply-adds."""
    return SEED_MS * macs(arch) / macs(SEED)


@cache
def made_steps(*, measured: bool = True, position: int = 0) -> tuple[StepRecord, ...]:
    """Steps of 0.05L; each takes the proposal at `position` and loses a little more than the one before."""
    arch, cost, accuracy, steps = SEED, made_ms(SEED), SEED_ACCURACY, []
    while cost > TARGET_MS:
        proposals = offer(arch, made_ms, 0.05 * SEED_MS).proposals
        choice = proposals[position % len(proposals)]
        accuracy -= 0.001 * (len(steps) + position)
        step = _step(len(steps) + 1, arch, choice, proposals, accuracy)
        steps.append(step if measured else replace(step, latency=None, change=None))
        arch, cost = choice.arch, choice.cost
    return tuple(steps)


def _step(
    number: int, parent: ArchSpec, choice: Proposal, proposals: tuple[Proposal, ...], accuracy: float
) -> StepRecord:
    return StepRecord(
        step=number,
        parent=str(parent),
        arch=str(choice.arch),
        asked=0.05 * SEED_MS,
        reduction=0.05 * SEED_MS,
        predicted=choice.cost,
        cost=choice.cost,
        latency=latency_of(choice.cost),
        change=latency_of(choice.cost * 1.004, choice.cost + choice.saving, 0.006),
        predicted_ratio=choice.cost / (choice.cost + choice.saving),
        control=0.8,
        candidates=tuple(
            CandidateRecord(
                group=proposal.group,
                kind=proposal.kind,
                before=proposal.before,
                after=proposal.after,
                saving=proposal.saving,
                useful_saving=proposal.saving,
                accuracy=0.8 - loss,
                accuracy_change=-loss,
                half_width=0.002,
                eliminated=place > 3 and proposal is not choice,
            )
            for place, proposal in enumerate(proposals)
            for loss in [0.001 if proposal is choice else 0.002 * (place + 1)]
        ),
        accepted=choice.group,
        tied=(),
        accuracy=accuracy,
        num_images=NUM_IMAGES,
        seconds=30.0,
    )


def config(selection: str = "slope") -> AdaptConfig:
    network = {"name": "tiny", "arch": str(SEED)}
    training = {
        "network": network,
        "data": {"source": NASTY, "resolution": RESOLUTION},
        "training": {},
    }
    return AdaptConfig.model_validate(
        {
            "network": network,
            "training": training,
            "schedule": "0.05L",
            "budgets": ["latency=0.8L"],
            "latency": {"resolution": RESOLUTION},
            "judging": {"selection": selection},
        }
    )


def make_run(
    folder: Path,
    steps: Sequence[StepRecord] | None = None,
    *,
    measured: bool = True,
    baselines: bool = True,
    trained: Mapping[str, Sequence[int]] | None = None,
    selection: str = "slope",
) -> Path:
    """A run folder.

    Args:
        folder: to make.
        steps: accepted so far; by default all of `made_steps`.
        measured: latencies were.
        baselines: the random one and the uniform multiplier are there.
        trained: name of a network of the final comparison -> test images right, trained with seeds 0, 1, ...; None: none
            was made.
        selection: the rule.
    """
    steps = made_steps(measured=measured) if steps is None else steps
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_yaml(config(selection)))
    write_json(folder / "seed.json", seed_document(measured=measured))
    write_steps(folder, steps)
    if baselines:
        (folder / "random").mkdir()
        write_steps(folder / "random", made_steps(measured=measured, position=2))
        write_json(folder / "uniform.json", uniform_document(measured=measured))
    if trained is not None:
        networks = [final_document(name, correct, measured=measured) for name, correct in trained.items()]
        document = {"version": 1, "run": folder.name, "unit": "ms", "target": TARGET_MS, "networks": networks}
        write_json(folder / "final.json", {"format": "nas-adapt-final", **document})
    return folder


def write_steps(folder: Path, steps: Sequence[StepRecord]) -> None:
    """The journal, and what stands for the exported networks of the seed and of each step."""
    with JsonLines(folder / "steps.jsonl", FORMAT, VERSION) as journal:
        for step in steps:
            journal.append(step.to_dict())
    for number in range(len(steps) + 1):
        network = folder / "steps" / f"{number:02d}"
        network.mkdir(parents=True)
        for name in ("arch.json", "model.onnx", "weights.safetensors"):
            (network / name).write_text(f"{name} of {number}")


def seed_document(*, measured: bool = True) -> dict[str, Any]:
    return {
        "format": "nas-adapt-seed",
        "version": 1,
        "network": "tiny",
        "arch": str(SEED),
        "cost": SEED_MS,
        "target": TARGET_MS,
        "unit": "ms",
        "latency": latency_of(SEED_MS).to_dict() if measured else None,
        "accuracy": SEED_ACCURACY,
        "num_images": NUM_IMAGES,
        "weights": "trained here",
    }


def uniform_document(*, measured: bool = True) -> dict[str, Any]:
    return {
        "format": "nas-adapt-uniform",
        "version": 1,
        "multiplier": 0.87,
        "arch": UNIFORM,
        "cost": 3.19,
        "latency": latency_of(3.19).to_dict() if measured else None,
        "accuracy": 0.76,
        "num_images": NUM_IMAGES,
    }


def final_document(name: str, trainings: Sequence[int], *, measured: bool = True) -> dict[str, Any]:
    """An entry of ``final.json``: test images right, trained with seeds 0, 1, ..."""
    archs = {
        "seed": str(SEED),
        "adapted": made_steps()[-1].arch,
        "uniform": UNIFORM,
        "random": made_steps(position=2)[-1].arch,
    }
    arch = parse_arch(archs[name])
    counts, ms = count(lower(arch, RESOLUTION, NUM_CLASSES)), made_ms(arch)
    return {
        "name": name,
        "arch": archs[name],
        "cost": ms,
        "latency": latency_of(ms).to_dict() if measured else None,
        "macs": counts.macs,
        "params": counts.params,
        "num_test": NUM_TEST,
        "fine_tuned_correct": None if name == "uniform" else 760,
        "trained": [{"seed": seed, "num_correct": correct} for seed, correct in enumerate(trainings)],
    }
