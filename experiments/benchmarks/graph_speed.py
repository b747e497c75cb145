"""How fast architectures become graphs, counts and ONNX models.

Prints one line per measurement. Nothing is a pass or a failure: compare figures of one machine only.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from search_spaces import zoo
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.onnx_model import emit_onnx
from search_spaces.torch_module import build_module


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def walk(candidates: int, resolution: int, num_classes: int) -> str:
    rng = np.random.default_rng(0)
    samples = [MNASNET.sample(rng) for _ in range(candidates)]
    total = seconds(lambda: [count(lower(MNASNET.decode(s), resolution, num_classes)) for s in samples])
    return f"decode + lower + count   {total:.3f} s for {candidates} candidates"


def emission(network: str, repeats: int, resolution: int, num_classes: int) -> str:
    graph = lower(zoo.get(network), resolution, num_classes)
    emit_onnx(graph)  # fills the pool of random numbers
    times = [1000 * seconds(lambda: emit_onnx(graph)) for _ in range(repeats)]
    spread = f"min {min(times):.1f}, max {max(times):.1f}"
    return f"emit_onnx                {statistics.median(times):.1f} ms, median of {repeats} ({spread}), {network}"


def torch_export(network: str, resolution: int, num_classes: int) -> str:
    module = build_module(lower(zoo.get(network), resolution, num_classes), seed=0).eval()
    images = torch.zeros(1, 3, resolution, resolution)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            total = seconds(lambda: torch.onnx.export(module, (images,), io.BytesIO(), verbose=False))
    except ImportError as error:
        return f"torch.onnx.export        not run: {error}"
    return f"torch.onnx.export        {total:.2f} s, once, {network}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000, help="of the MnasNet space (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="ONNX emissions (default: %(default)s)")
    parser.add_argument("--network", choices=sorted(zoo.ZOO), default="mobilenet_v3_large", help="default: %(default)s")
    parser.add_argument("--resolution", type=int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="of the classifier (default: %(default)s)")
    args = parser.parse_args()
    print(walk(args.candidates, args.resolution, args.classes))
    print(emission(args.network, args.repeats, args.resolution, args.classes))
    print(torch_export(args.network, args.resolution, args.classes))


if __name__ == "__main__":
    main()
