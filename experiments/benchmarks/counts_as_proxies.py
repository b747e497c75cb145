"""How well do counts of a graph rank networks by their accuracy? Short trainings and long ones, without any training here.

    python experiments/benchmarks/counts_as_proxies.py [--run FOLDER ...] [--check FILE ...] [--macro FILE.csv] [--json]

A run is a search's folder, whose trials were trained for a few epochs; a check is the output of `nas proxy-check --json`;
macro is the table of NAS-Bench-Macro (arXiv 2103.11922), 50 epochs. Kendall's tau with accuracy of MACs, parameters and
the shortest path (`nas.zero_cost.short_path`), 95 % intervals over networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from supernet_nas_bench_macro import RECIPE, trained_networks

from nas import SearchFrames, UserError, load_run
from nas.config import load_config
from nas.rank_correlation import Scores, tau_interval
from nas.zero_cost import short_path
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.graph import Graph
from search_spaces.lower import lower

COUNTS: dict[str, Callable[[Graph], float]] = {
    "MACs": lambda graph: float(count(graph).macs),
    "params": lambda graph: float(count(graph).params),
    "short_path": short_path,
}
RESOLUTION = 224  # at which candidates are deployed, and counted


@dataclass(frozen=True)
class Trained:
    """Networks with their accuracies.

    Attributes:
        source: where they are from.
        archs: the networks.
        accuracies: one each.
    """

    source: str
    archs: Sequence[ArchSpec]
    accuracies: Scores


def of_run(folder: str) -> Trained:
    """The trials of a search, each network once."""
    run = load_run(folder)
    if not isinstance(run, SearchFrames):
        raise UserError(f"--run {folder}: no search, but another kind of run")
    trials = run.trials
    own = trials[trials["accuracy"].notna() & trials["repeat_of"].isna()]
    return Trained(folder, [parse_arch(arch) for arch in own["arch"]], own["accuracy"].to_numpy(dtype=float))


def of_check(file: str) -> Trained:
    """The networks of a proxy-check, each by the mean of its trainings."""
    networks = json.loads(Path(file).read_text())["networks"]
    accuracies = np.array([np.mean(network["accuracies"]) for network in networks])
    return Trained(file, [parse_arch(network["arch"]) for network in networks], accuracies)


def of_macro(table: str) -> Trained:
    """All networks of NAS-Bench-Macro, each by the mean of its trainings."""
    archs, accuracies = trained_networks(load_config(RECIPE, []).search_space, Path(table))
    return Trained(table, archs, accuracies.mean(axis=1))


def judged(trained: Trained) -> dict[str, Any]:
    """Tau of each count."""
    graphs = [lower(arch, RESOLUTION, 10) for arch in trained.archs]
    scores = {name: np.array([counted(graph) for graph in graphs]) for name, counted in COUNTS.items()}
    taus = {name: dataclasses.asdict(tau_interval(found, trained.accuracies)) for name, found in scores.items()}
    return {"source": trained.source, "networks": len(graphs), "tau": taus}


def main() -> None:
    """Print a line for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", default=[], help="folder of a search")
    parser.add_argument("--check", action="append", default=[], help="output of nas proxy-check --json")
    parser.add_argument("--macro", help="the CSV of NAS-Bench-Macro")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        sources = [*map(of_run, args.run), *map(of_check, args.check), *([of_macro(args.macro)] if args.macro else [])]
    except (UserError, OSError) as error:
        parser.error(str(error))
    if not sources:
        parser.error("nothing to judge: give --run, --check or --macro")
    results = [judged(source) for source in sources]
    if args.json:
        print(json.dumps(results, indent=1))
        return
    for result in results:
        print(f"{result['source']}: {result['networks']} networks")
        for name, tau in result["tau"].items():
            print(f"  {name:12} tau {tau['value']:+.3f} [{tau['low']:+.3f}, {tau['high']:+.3f}]")


if __name__ == "__main__":
    main()
