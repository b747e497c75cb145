"""A recipe before anything starts: whether it can work, and what it leaves to the machine and the data filled in."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from controllers.build import build_controller
from latency.cores import available_cores
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import check_recorded_run
from nas.finale import check_baselines
from nas.images import Images
from nas.latency_check import absolute, check_latency, check_table, resolved_latency
from nas.network import resolve_network
from nas.objective import Target
from nas.one_shot import check_one_shot
from nas.table_evaluator import read_accuracy_table


def check(config: Config) -> None:
    """Raise UserError for what cannot work, as far as can be told without reading the data or starting anything."""
    cpus = _num_cpus()
    if config.cpus_per_trial > cpus:
        raise UserError(f"cpus_per_trial = {config.cpus_per_trial}: this machine has {cpus}")
    baselines = list(config.final.baselines) if config.final else []
    targets = [config.objective.target, *(d.target for d in config.latency.devices if d.target is not None)]
    for name in (*(Target.parse(text).network for text in targets), *baselines):
        if name:
            resolve_network(name)
    check_baselines(baselines, {config.data.resolution, config.latency.resolution})
    check_one_shot(config)
    check_latency(config.latency)
    _check_evaluator(config)
    try:
        build_controller(config.controller.name, config.search_space.choices, config.seed, config.controller.options)
    except ValueError as error:
        raise UserError(f"controller: {error}") from None


def _check_evaluator(config: Config) -> None:
    section = config.evaluator
    if section.name == "recorded":
        if section.run is None:
            raise UserError("evaluator.name: recorded accuracies need the run that recorded them: set evaluator.run")
        check_recorded_run(Path(section.run))
    if section.name == "table":
        read_accuracy_table(config)
    elif section.table is not None:
        raise UserError(f"evaluator.table: is for evaluator.name: table; the recipe says {section.name}")
    if config.final and config.final.inherit and section.name not in ("supernet", "one_shot"):
        raise UserError(f"final.inherit: weights are inherited from a supernet; evaluator.name is {section.name}")
    if anchor := section.supernet.anchor:
        try:
            config.search_space.encode(resolve_network(anchor))
        except ValueError as error:
            raise UserError(f"evaluator.supernet.anchor {anchor!r}: {error}") from None


def resolved(config: Config, images: Images | None) -> Config:
    """`config` complete: this machine's concurrency and devices, the data's classes, paths that hold in any folder.

    Raises:
        UserError: the table is of networks with other classes than the data's.
    """
    concurrency = config.concurrency or max(1, _num_cpus() // config.cpus_per_trial)
    gpus = config.gpus_per_trial
    if gpus is None:  # Ray hides CUDA devices from actors that ask for none
        gpus = min(1.0, torch.cuda.device_count() / concurrency)
    num_classes = config.latency.num_classes or (images.dataset.num_classes if images else config.latency.num_outputs)
    latency = resolved_latency(config.latency).model_copy(update={"num_classes": num_classes})
    check_table(latency)  # now that the classes are known
    anchor = config.evaluator.supernet.anchor
    supernet = {
        "folder": absolute(config.evaluator.supernet.folder),
        "anchor": str(resolve_network(anchor)) if anchor else None,
    }
    evaluator = config.evaluator.model_copy(
        update={
            "run": absolute(config.evaluator.run),
            "table": absolute(config.evaluator.table),
            "supernet": config.evaluator.supernet.model_copy(update=supernet),
        }
    )
    source = config.data.source if config.data.source == "digits" else absolute(config.data.source)
    sections = {"latency": latency, "evaluator": evaluator, "data": config.data.model_copy(update={"source": source})}
    return config.model_copy(update={"concurrency": concurrency, "gpus_per_trial": gpus, **sections})


def _num_cpus() -> int:
    return len(available_cores()) or os.cpu_count() or 1
