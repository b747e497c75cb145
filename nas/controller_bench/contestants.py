"""Who takes part: controllers by name, peers from Optuna, and variants with options of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from controllers.build import CONTROLLER_NAMES
from nas.controller_bench.race import Contestant
from nas.errors import UserError
from nas.strict_yaml import read_yaml
from search_spaces.choice import Choice

NEED_OPTIONS = ("optuna", "tune")
"""Controllers that are frames for libraries; a variant says which of their samplers."""


def known(num_objectives: int) -> dict[str, Contestant]:
    """Those that a name suffices for, by label; multi-objective ones are told `num_objectives`."""
    ours = [name for name in CONTROLLER_NAMES if name not in NEED_OPTIONS]
    peers = [
        Contestant("optuna-tpe", "optuna", {"sampler": "TPESampler"}),
        Contestant("optuna-nsga2", "optuna", {"sampler": "NSGAIISampler", "num_objectives": num_objectives}),
    ]
    return {each.label: each for each in [*(Contestant(name, name) for name in ours), *peers]}


def chosen(
    names: str | None, variants: Sequence[str], choices: Sequence[Choice], num_objectives: int
) -> list[Contestant]:
    """The contestants of a race, each of which can be built.

    Args:
        names: labels of `known`, separated by commas; None is all of them, or none where there are variants.
        variants: each ``LABEL=CONTROLLER {option: value, ...}``.
        choices: of the benchmark.
        num_objectives: of the benchmark.

    Raises:
        UserError: an unknown name, an option that a controller does not have, or equal labels.
    """
    available = known(num_objectives)
    wanted = [name.strip() for name in names.split(",")] if names is not None else [] if variants else list(available)
    if unknown := [name for name in wanted if name not in available]:
        raise UserError(
            f"--controllers {unknown[0]!r}: unknown; allowed: {', '.join(available)}; for others: "
            "--variant 'LABEL=CONTROLLER {option: value}'"
        )
    contestants = [*(available[name] for name in wanted), *(_variant(text) for text in variants)]
    labels = [each.label for each in contestants]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise UserError(f"contestant {repeated[0]!r} takes part twice; labels must differ")
    for each in contestants:
        try:
            each.build(choices, 0)
        except (ValueError, TypeError) as error:
            raise UserError(f"contestant {each.label!r}: {error}") from None
    return contestants


def _variant(text: str) -> Contestant:
    match = re.fullmatch(r"\s*([\w.+-]+)\s*=\s*([\w-]+)\s*(\{.*\})?\s*", text, re.DOTALL)
    if match is None:
        raise UserError(
            f"--variant {text!r}: write LABEL=CONTROLLER {{option: value}}, e.g. 'b16=ppo {{batch_size: 16}}'"
        )
    label, name, options = match.groups()
    try:
        read = read_yaml(options) if options else {}
    except ValueError as error:
        raise UserError(f"--variant {text!r}: options are not YAML: {error}") from None
    return Contestant(label, name, read)
