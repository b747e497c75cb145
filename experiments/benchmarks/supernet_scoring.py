"""What it costs to score one candidate with shared weights, batch statistics included; the weights need not be trained.

    python experiments/benchmarks/supernet_scoring.py --data imagenette64.npz [--candidates 50] [--json]

Random candidates of the recipe's space, on `evaluator.supernet.num_images` held-out images, each scored once by the evaluator
that searches use: its own seconds, the median and the range that 95 % of the candidates are in; and the mean CPU time, which
other processes change less. --return-memory leaves the allocator as it is, to see what `nas.kept_memory` saves.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from latency.cores import available_cores
from nas import supernet_evaluator
from nas.config import load_config
from nas.images import Images
from search_spaces.supernet import Supernet


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnas_large.yaml")
    parser.add_argument(
        "--data", required=True, help="digits, FILE.npz, or a folder with train/CLASS/* and val/CLASS/*"
    )
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--threads", type=int, default=len(available_cores()) or torch.get_num_threads())
    parser.add_argument("--return-memory", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.return_memory:
        supernet_evaluator.keep_freed_memory = lambda: None
    config = load_config(args.config, [f"data.source={json.dumps(args.data)}", *args.set])
    images, section = Images.load(config), config.evaluator.supernet
    space, resolution = config.search_space, config.data.resolution
    holdout = images.split(config)[1]
    holdout = holdout.select(torch.arange(min(section.num_images, len(holdout))))
    supernet = Supernet(space, resolution, images.dataset.num_classes, section.sharing, config.seed)
    evaluator, rng = supernet_evaluator.SupernetEvaluator(supernet, holdout), np.random.default_rng(config.seed)
    archs = [space.decode(space.sample(rng)) for _ in range(args.candidates + 1)]
    next(evaluator.evaluate(archs[0], 0))  # warms up
    started = time.process_time()
    seconds = [evaluation.seconds for arch in archs[1:] for evaluation in evaluator.evaluate(arch, 0)]
    cpu_s = (time.process_time() - started) / len(seconds)
    low, median, high = np.quantile(seconds, [0.025, 0.5, 0.975])
    result = {
        "space": space.name,
        "resolution": resolution,
        "images": len(holdout),
        "threads": args.threads,
        "candidates": len(seconds),
        "median_s": float(median),
        "low_s": float(low),
        "high_s": float(high),
        "cpu_s": cpu_s,
    }
    if args.json:
        print(json.dumps(result))
    else:
        about = f"{space.name}, {len(holdout)} images of {resolution} px, {args.threads} threads"
        print(f"{about}: {median:.3f} s a candidate ({low:.3f} to {high:.3f}), {cpu_s:.3f} s of CPU")


if __name__ == "__main__":
    main()
