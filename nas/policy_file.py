"""The policy of a one-shot search in its run folder: what draws the candidates of its trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from controllers.reinforce import ReinforceController
from controllers.settled_policy import SettledPolicy
from nas.errors import UserError
from nas.run_folder import write_json
from search_spaces.choice import Choice

FORMAT = "nas-policy"
VERSION = 1
POLICY = "policy.json"
"""In a run folder: of every decision the logits of its options."""


def write_policy(folder: Path, choices: Sequence[Choice], controller: ReinforceController) -> None:
    """Keep in `folder` what `controller` has learned of `choices`, its own."""
    logits = {
        choice.name: row[: len(choice.options)] for choice, row in zip(choices, controller.logits.tolist(), strict=True)
    }
    write_json(folder / POLICY, {"format": FORMAT, "version": VERSION, "logits": logits})


def settled_policy(folder: Path, choices: Sequence[Choice], seed: int) -> SettledPolicy:
    """A controller over what `folder` keeps, fresh.

    Args:
        folder: of a run.
        choices: the decisions of its space.
        seed: of the draws.

    Raises:
        UserError: there is no policy, or one of another space or version.
    """
    path = folder / POLICY
    try:
        document = json.loads(path.read_text())
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"not a policy of version {VERSION}")
        rows = [document["logits"][choice.name] for choice in choices]
        logits = np.full((len(rows), max(map(len, rows))), -np.inf)
        for logit, row in zip(logits, rows, strict=True):
            logit[: len(row)] = row
        return SettledPolicy(choices, logits, seed)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be used ({error}); nas search --resume {folder} writes it again") from None
