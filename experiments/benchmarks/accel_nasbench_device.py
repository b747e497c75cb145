"""ImageNet-trained accuracies x the latency of this device: is what a search finds above the networks that were trained?

    nas latency table build --space accel_nasbench.yaml --out prices.json
    nas search --config accel_nasbench.yaml --table accel_nasbench.csv --out runs/accel --set trials=1000 \\
        --set latency.name=table --set latency.table=prices.json
    python experiments/benchmarks/accel_nasbench_device.py --run runs/accel --table accel_nasbench.csv \\
        --latency-table prices.json [--json OUT] [--html FRONTS.html]

The table is Accel-NASBench's (arXiv 2404.08005, github.com/afzalxo/Accel-NASBench): 5 138 networks of a MnasNet-type space,
each trained on ImageNet for 16 epochs. All accuracies here are those of the surrogate fitted on it, for found networks and
for its own alike, so that the noise of single trainings does not choose: proxy accuracies. All latencies are the latency
table's prices; the best of both sides at each budget are then measured, in five processes each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from rich.console import Console
from rich.table import Table

from latency.cores import measuring_core
from latency.meter import GRADES
from latency.meter_process import MeterProcess
from latency.table_file import load_table
from nas import SearchFrames, load_run, pareto_front
from nas.netadapt.measured_cost import trusted_latency
from nas.netadapt.own_table import metered_by
from nas.run import read_config
from nas.table_evaluator import fitted_evaluator, read_accuracy_table
from search_spaces.arch_string import parse_arch

BUDGETS = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Latencies, in multiples of the target."""


def main() -> None:
    """Compare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, required=True, help="a search in the table's space, priced by the latency table"
    )
    parser.add_argument("--table", type=Path, required=True, help="Accel-NASBench's CSV")
    parser.add_argument("--latency-table", type=Path, required=True, help="what the search was priced by")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--html", type=Path, help="draw both fronts")
    options = parser.parse_args()
    run = load_run(options.run)
    assert isinstance(run, SearchFrames)
    found = run.trials.query("status == 'ok'")[["arch", "accuracy", "latency_ms", "reward"]]
    trained = _trained(options.run, options.table, options.latency_table, run.target_ms)
    rows = [_compared(found, trained, run.target_ms * budget) for budget in BUDGETS]
    document = {
        "target_ms": run.target_ms,
        "num_found": int(found["arch"].nunique()),
        "num_trained": len(trained),
        "best_reward": {"found": float(found["reward"].max()), "trained": float(trained["reward"].max())},
        "budgets": _measured(rows, options.latency_table),
    }
    if options.html:
        _draw(found, trained, run.target_ms, options.html)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    _print(document)


def _trained(run: Path, table: Path, latency_table: Path, target_ms: float) -> pd.DataFrame:
    """The table's own networks: predicted accuracy, priced latency, the run's reward."""
    config = read_config(run)
    evaluator = config.evaluator.model_copy(update={"table": str(table)})
    config = config.model_copy(update={"evaluator": evaluator})
    assert evaluator.target is not None
    positions, _ = read_accuracy_table(config).target(evaluator.target, evaluator.scale)
    space, (predictor, _) = config.search_space, fitted_evaluator(config)
    prices, objective = load_table(latency_table), config.objective.objective(target_ms)
    rows = []
    for row in positions:
        arch = space.decode({choice.name: choice.options[at] for choice, at in zip(space.choices, row, strict=True)})
        *_, last = predictor.evaluate(arch, 0)
        latency_ms = prices.price(arch).latency_ms
        rows.append((str(arch), last.accuracy, latency_ms, objective.reward(last.accuracy, latency_ms)))
    return pd.DataFrame(rows, columns=["arch", "accuracy", "latency_ms", "reward"])


def _compared(found: pd.DataFrame, trained: pd.DataFrame, budget_ms: float) -> dict[str, object]:
    """The most accurate network of each side within a latency."""
    best = {}
    for name, networks in (("found", found), ("trained", trained)):
        within = networks[networks["latency_ms"] <= budget_ms]
        best[name] = None if within.empty else within.loc[within["accuracy"].idxmax()].to_dict()
    return {"budget_ms": budget_ms, **best}


def _measured(rows: list[dict[str, object]], latency_table: Path) -> list[dict[str, object]]:
    """`rows`, each network with its measured latency."""
    table = load_table(latency_table)
    with MeterProcess(measuring_core(), table.device.deployment) as meter:
        metered = metered_by(table, meter)
        for row in rows:
            for name in ("found", "trained"):
                if isinstance(network := row[name], dict):
                    latency = trusted_latency(metered, parse_arch(network["arch"]), GRADES["final"])
                    network["measured"] = latency.to_dict()
    return rows


def _draw(found: pd.DataFrame, trained: pd.DataFrame, target_ms: float, path: Path) -> None:
    figure = go.Figure(layout={"template": "plotly_white", "legend": {"x": 1, "xanchor": "right", "y": 0}})
    grey, vermilion = "#999999", "#d55e00"
    cloud = {"mode": "markers", "marker": {"size": 3, "color": "#cccccc"}, "name": "trained by Accel-NASBench"}
    figure.add_scatter(x=trained["latency_ms"], y=100 * trained["accuracy"], **cloud)
    for networks, colour, name in ((trained, grey, "their front"), (found, vermilion, "front of the search")):
        front = pareto_front(networks)
        line = {"color": colour, "shape": "hv"}
        figure.add_scatter(x=front["latency_ms"], y=100 * front["accuracy"], mode="lines", line=line, name=name)
    figure.add_vline(target_ms, line={"dash": "dot", "width": 1}, annotation_text="target")
    figure.update_xaxes(title="latency on this device, ms")
    figure.update_yaxes(title="proxy top-1, %", range=[100 * trained["accuracy"].quantile(0.01), None])
    figure.write_html(path, include_plotlyjs="cdn")


def _print(document: dict[str, object]) -> None:
    console, table = Console(width=120), Table("budget", "side", "proxy top-1", "priced", "measured")
    budgets = document["budgets"]
    assert isinstance(budgets, list)
    for row in budgets:
        for name in ("found", "trained"):
            if network := row[name]:
                low, high = network["measured"]["interval_ms"]
                table.add_row(
                    f"{row['budget_ms']:.2f} ms",
                    name,
                    f"{network['accuracy']:.2%}",
                    f"{network['latency_ms']:.2f} ms",
                    f"{network['measured']['latency_ms']:.2f} ms ({low:.2f} to {high:.2f})",
                )
    console.print(table)
    best = document["best_reward"]
    assert isinstance(best, dict)
    console.print(
        f"best reward: {best['found']:.4f} of {document['num_found']} networks searched, {best['trained']:.4f} of the "
        f"{document['num_trained']} trained ones",
        highlight=False,
    )


if __name__ == "__main__":
    main()
