"""NetAdapt as a stage of a reproduction: a run of ``nas adapt`` without baselines of its own."""

from __future__ import annotations

from rich.console import Console

from nas.netadapt.adapt_config import AdaptConfig, JudgingSection
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_report import write_adapt_report
from nas.netadapt.adapt_run import AdaptRun, create_run
from nas.netadapt.adapting import carry_on
from nas.network import NamedNetwork
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_run import ReproduceRun
from nas.train_config import NetworkSection, TrainConfig, TrainRequest, resolve_config
from nas.train_data import opened
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import joined_blocks, one_layer_blocks


def adapted(
    run: ReproduceRun, stage: str, arch: ArchSpec, share: float, console: Console, ray_address: str | None
) -> ArchSpec:
    """`arch` with its widths narrowed until it takes `share` of its latency; carried on from wherever it is.

    Raises:
        UserError, UnreachableError: as `nas.netadapt.adapting.carry_on`.
    """
    folder = run.folder / stage
    training = training_config(run.config, stage, arch)
    dataset = opened(training.data, console)
    if not (folder / "config.yaml").is_file():
        create_run(folder, _config(run.config, stage, arch, share, training), dataset.fingerprint)
    with AdaptRun(folder) as own:
        carry_on(own, dataset, console, ray_address=ray_address)
    write_adapt_report(folder)
    return joined_blocks(parse_arch(AdaptRecord.read(folder).arch))


def _config(config: ReproduceConfig, stage: str, arch: ArchSpec, share: float, training: TrainConfig) -> AdaptConfig:
    latency = config.search.latency
    return AdaptConfig(
        seed=config.search.seed,
        network=NetworkSection(name=stage, arch=str(one_layer_blocks(arch))),
        training=training,
        schedule=config.adapt.schedule,
        budgets=[f"latency={share:.6f}L"],
        groups=config.adapt.groups,
        max_overshoot=config.adapt.max_overshoot,
        latency=latency.model_copy(update={"name": "measure", "table": None, "run": None}),
        judging=JudgingSection(num_steps=config.adapt.num_steps),
        baselines=False,
        num_trainings=0,
        threads=config.search.cpus_per_trial,
    )


def training_config(config: ReproduceConfig, name: str, arch: ArchSpec) -> TrainConfig:
    """How `arch` is trained before its widths are narrowed: by the recipe of the comparison, on what the search trains on."""
    data, training = config.search.data, config.comparison.training
    request = TrainRequest(
        network=NamedNetwork(name, arch),
        training_of=None,
        resolution=data.resolution,
        epochs=training.epochs,
        overrides={key: value for key, value in training.model_dump().items() if key != "epochs"},
        holdout=data.holdout,
        seed=config.search.seed,
    )
    return resolve_config(request, data.source, data.resolution, None, None)
