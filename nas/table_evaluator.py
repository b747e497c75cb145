"""Accuracies from a table of networks that others trained: a surrogate fitted on its rows predicts all of the space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nas.arch_table import ArchTable, positions_of
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import Evaluation
from nas.surrogate import Quality, Surrogate, fitted
from search_spaces.arch import ArchSpec
from search_spaces.space import SearchSpace


class TableEvaluator:
    """The surrogate's prediction, also for networks that are in the table: its noise must not choose among them.

    Args:
        space: whose decisions the surrogate knows.
        surrogate: of the accuracy in [0, 1].
    """

    def __init__(self, space: SearchSpace, surrogate: Surrogate) -> None:
        self._space = space
        self._surrogate = surrogate

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:  # noqa: ARG002  (nothing is random)
        """The predicted accuracy; raises ValueError for a network outside the space."""
        positions = np.array([positions_of(self._space.choices, self._space.encode(arch))])
        accuracy = float(np.clip(self._surrogate.predict(positions), 0, 1)[0])
        yield Evaluation(accuracy, epoch=0, samples=0, seconds=0.0)


def read_accuracy_table(config: Config) -> ArchTable:
    """The table of a recipe whose evaluator is ``table``.

    Raises:
        UserError: the recipe leaves out what is needed, or the table does not fit.
    """
    section, space = config.evaluator, config.search_space
    if section.table is None:
        raise UserError("evaluator.table: a CSV of architectures and accuracies is needed: give --table FILE")
    if section.target is None:
        raise UserError("evaluator.target: which column of the table are the accuracies? set it")
    table = ArchTable.of_columns(Path(section.table), space.choices, section.columns, section.values)
    _, accuracies = table.target(section.target, section.scale)
    if accuracies.min() < 0 or accuracies.max() > 1:
        raise UserError(
            f"evaluator.scale = {section.scale:g}: makes {section.target} {accuracies.min():g} to {accuracies.max():g}; "
            "accuracies are fractions: set 0.01 for percent"
        )
    return table


def fitted_evaluator(config: Config) -> tuple[TableEvaluator, Quality]:
    """The evaluator of a recipe, and how well it predicts; takes half a minute the first time.

    Raises:
        UserError: as `read_accuracy_table`, or the table is too small.
    """
    table = read_accuracy_table(config)
    assert config.evaluator.target is not None
    surrogate, quality = fitted(table, config.evaluator.target, config.evaluator.scale)
    return TableEvaluator(config.search_space, surrogate), quality
