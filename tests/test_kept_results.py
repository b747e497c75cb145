"""Runs that are kept in the repository are executed again from their journals, as `nas replay` does."""

from pathlib import Path

import pytest

from nas.netadapt.adapt_record import is_adaptation
from nas.netadapt.adapt_replay import replay_adaptation
from nas.reproduction.reproduce_config import is_reproduction
from nas.reproduction.reproduce_replay import replay_reproduction
from nas.search_replay import replay_search

RESULTS = Path(__file__).parents[1] / "experiments" / "results"
RUNS = [path.parent for path in sorted(RESULTS.glob("*/config.yaml"))]


def test_there_are_some():
    assert {"search", "adapt"} <= {run.name.partition("_")[0] for run in RUNS}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_it_comes_out_the_same(run):
    if is_reproduction(run):
        assert replay_reproduction(run).num_steps > 0
    elif not is_adaptation(run):
        replay = replay_search(run)
        assert replay.complete
        assert replay.best is not None
    else:
        assert replay_adaptation(run).num_steps > 0
