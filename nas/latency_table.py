"""Building and validating a latency table with a meter, a budget and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from latency.deployed_model import deployed_model
from latency.metered import Meter, MeteredLatency
from latency.reference import Reference, calibrate
from latency.table import LatencyTable, fit_table
from latency.table_build import collect, journal_setting, sightings, space_networks, variant_networks
from latency.table_file import TableFileError, load_table, save_table
from latency.table_journal import Journal, JournalError, journal_path, read_setting
from latency.table_validation import compare, validation
from nas.config import RecipeNotFoundError, load_config
from nas.errors import UserError
from nas.network import resolve_network
from nas.space_section import SPACES
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.sampling import width_variant
from search_spaces.space import SearchSpace

MIN_NETWORKS = 2
BUILD_SEED = 1_000_000
"""Plus what is done; a validation's seed lies below it, so that it draws other networks."""

_SPACE, _VARIANTS = "space ", "variants of "

Population = SearchSpace | ArchSpec
"""What a table's networks are drawn from: a space, or one network's narrower variants."""


def population_of(space: str | None, arch: str | None) -> Population:
    """What ``--space`` or ``--arch`` names.

    Raises:
        UserError: not exactly one of them, or an unknown one.
    """
    if arch is not None and space is None:
        return resolve_network(arch)
    if space is None or arch is not None:
        raise UserError(f"give one of --space {'|'.join(SPACES)}|RECIPE and --arch ARCH")
    if space in SPACES:
        return SPACES[space]
    try:
        return load_config(space).search_space
    except RecipeNotFoundError:
        allowed = f"{', '.join(SPACES)}, or a recipe that spells out a space called like its file"
        raise UserError(f"--space {space!r}: unknown; allowed: {allowed}") from None


def population_text(population: Population) -> str:
    """As a table's `population`."""
    return f"{_SPACE}{population.name}" if isinstance(population, SearchSpace) else f"{_VARIANTS}{population}"


def _population(text: str) -> Population:
    """Inverse of `population_text`."""
    if text.startswith(_VARIANTS):
        return parse_arch(text.removeprefix(_VARIANTS))
    return population_of(text.removeprefix(_SPACE), None)


def read_table(file: Path) -> LatencyTable:
    """The table in `file`, of whatever device.

    Raises:
        UserError: it holds none that can be used.
    """
    try:
        return load_table(file)
    except TableFileError as error:
        raise UserError(str(error)) from None


def keep_table(table: LatencyTable, file: Path) -> None:
    """Write `table` to `file`, whole or not at all.

    Raises:
        UserError: it cannot be written; what was there before is untouched.
    """
    try:
        save_table(table, file)
    except TableFileError as error:
        raise UserError(str(error)) from None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=40), TextColumn("{task.fields[state]}"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


def build(
    meter: Meter,
    population: Population,
    out: Path,
    reference: ArchSpec,
    *,
    num_classes: int,
    seconds: float,
    num_networks: int | None,
    console: Console,
) -> LatencyTable:
    """Build the table `out`, going on with what an earlier or interrupted build left beside it.

    Args:
        meter: where to measure.
        population: what to draw networks from.
        out: file to write; the journal beside it stays, so that a longer build can go on.
        reference: network that ratios refer to.
        num_classes: outputs of the classifier.
        seconds: stop at the first network that ends after so long, though not before there are `MIN_NETWORKS`.
        num_networks: stop at so many in all; None for no such limit.
        console: for the progress.

    Raises:
        UserError: the journal belongs to another build, or nothing could be measured.
        MeasuringError: the meter fails.
    """
    try:
        journal_file = journal_path(out)
        frozen = _frozen(meter, reference, num_classes, read_setting(journal_file))
        text = population_text(population)
        setting = journal_setting(meter.device, text, num_classes, reference, frozen.reference_ms)
        with Journal(journal_file, setting) as journal:
            metered = MeteredLatency(meter, reference, num_classes=num_classes, frozen=frozen)
            _collect(metered, population, num_classes, journal, seconds, num_networks, console)
            observations = journal.observations
        table = fit_table(
            observations,
            device=meter.device,
            population=text,
            num_classes=num_classes,
            reference=reference,
            reference_ms=frozen.reference_ms,
        )
    except JournalError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{out}: {error}") from None
    keep_table(table, out)
    return table


def _frozen(meter: Meter, reference: ArchSpec, num_classes: int, setting: Any) -> Reference:
    """The reference with its time: of the build that is gone on with, or calibrated now."""
    model = deployed_model(reference, meter.device.deployment, num_classes)
    if setting is not None and setting.get("reference_ms"):
        return Reference(model, float(setting["reference_ms"]))
    return calibrate(meter, model)[0]


def _collect(
    metered: MeteredLatency,
    population: Population,
    num_classes: int,
    journal: Journal,
    seconds: float,
    num_networks: int | None,
    console: Console,
) -> None:
    done, resolution = journal.observations, metered.meter.device.resolution
    seen = sightings(done, resolution, num_classes)
    seed = BUILD_SEED + len(done)
    networks = (
        space_networks(population, seen, resolution, num_classes, seed)
        if isinstance(population, SearchSpace)
        else variant_networks(population, len(done), seed)
    )
    observing = collect(metered, networks, num_classes, journal, seen)
    started = time.monotonic()

    def goes_on() -> bool:
        in_time = time.monotonic() - started < seconds
        return len(done) < MIN_NETWORKS or (in_time and (num_networks is None or len(done) < num_networks))

    with _progress(console) as progress:
        task = progress.add_task("networks", total=num_networks, completed=len(done), state=f"{len(done)} done before")
        while goes_on():
            next(observing)
            progress.update(task, completed=len(done), state=f"{len(done)} networks, {len(seen)} operations")


def fresh_networks(table: LatencyTable, seed: int) -> Iterator[ArchSpec]:
    """Random networks of what the table was built for, without end; not those of its building."""
    rng, population = np.random.default_rng(seed), _population(table.population)
    while True:
        if isinstance(population, SearchSpace):
            yield population.decode(population.sample(rng))
        else:
            yield width_variant(population, rng)


def validated(table: LatencyTable, meter: Meter, num_networks: int, seed: int, console: Console) -> LatencyTable:
    """`table` with the outcome of a validation on `num_networks` fresh networks.

    Raises:
        UserError: the meter is of another device, a network has no price, or fewer than 2 could be measured.
        MeasuringError: the meter fails.
    """
    if difference := table.device.difference(meter.device):
        raise UserError(f"the table belongs to another device ({difference}); build one for this one")
    frozen = Reference(deployed_model(table.reference, meter.device.deployment, table.num_classes), table.reference_ms)
    metered = MeteredLatency(meter, table.reference, num_classes=table.num_classes, frozen=frozen)
    networks = list(islice(fresh_networks(table, seed), num_networks))
    compared = []
    try:
        with _progress(console) as progress:
            task = progress.add_task("networks", total=num_networks, state="")
            for comparison in compare(table, metered, networks):
                compared.append(comparison)
                progress.update(task, completed=len(compared), state=f"{len(compared)} of {num_networks}")
        return replace(table, validation=validation(compared))
    except ValueError as error:
        raise UserError(str(error)) from None
