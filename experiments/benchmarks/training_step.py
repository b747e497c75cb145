"""What the proxy trainer costs above a plain PyTorch loop over the same module: nothing should be lost to the framework.

    python experiments/benchmarks/training_step.py [--network mobilenet_v2@0.5] [--resolution 48] [--rounds 15] [--json]
        [--plain-convolutions]

Both do the same work: take a batch of a set in memory, normalise it, forward, cross entropy, backward, fused SGD with Nesterov
momentum. Epochs of the two alternate in one process, each pair in a random order; the figure is the median of the ratios of
their CPU times, with a 95 % bootstrap interval. CPU time, because other processes on the machine are not its business.
With --plain-convolutions the plain loop's module has torch's own convolutions, as anybody's network would: then the figure
also says what `search_spaces.convolution` saves.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nas.image_set import ImageSet
from nas.network import resolve_network
from nas.training import Training
from nas.training_recipe import TrainingRecipe
from search_spaces.lower import lower
from search_spaces.torch_module import ConvModule, GraphModule, build_module

NUM_CLASSES = 10


def plain_epoch(module: GraphModule, data: ImageSet, batch_size: int) -> Callable[[], None]:
    """An epoch as anybody would write it."""
    optimizer = torch.optim.SGD(
        module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True
    )
    mean = torch.tensor(data.mean).view(1, 3, 1, 1)
    std = torch.tensor(data.std).view(1, 3, 1, 1)

    def run() -> None:
        module.train()
        order = torch.randperm(len(data))
        for batch in order[: len(data) // batch_size * batch_size].split(batch_size):
            images = (
                data.images[batch].to(torch.float32, memory_format=torch.channels_last).div_(255).sub_(mean).div_(std)
            )
            loss = F.cross_entropy(module(images), data.labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def with_plain_convolutions(module: GraphModule) -> GraphModule:
    """`module` itself, with torch's own convolutions on the same weights."""
    for part in module.modules():
        if isinstance(part, ConvModule):
            part.conv.forward = partial(nn.Conv2d.forward, part.conv)
    return module


def our_epoch(module: GraphModule, data: ImageSet, batch_size: int) -> Callable[[], None]:
    """An epoch of `nas.training.Training`."""
    training = Training(module, data, TrainingRecipe(epochs=10**6, batch_size=batch_size, learning_rate=0.01), seed=0)
    return lambda: (training.next_epoch(), None)[1]


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="mobilenet_v2@0.5")
    parser.add_argument("--resolution", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of epochs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plain-convolutions", action="store_true", help="of the plain loop")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch_size * args.steps, 3, args.resolution, args.resolution)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    data = ImageSet(pixels, torch.arange(len(pixels)) % NUM_CLASSES, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    graph = lower(resolve_network(args.network), args.resolution, NUM_CLASSES)
    plain = build_module(graph, 0)
    epochs = {
        "ours": our_epoch(build_module(graph, 0), data, args.batch_size),
        "plain": plain_epoch(
            with_plain_convolutions(plain) if args.plain_convolutions else plain, data, args.batch_size
        ),
    }
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for round_number in range(args.rounds + 1):
        for name in rng.permutation(list(epochs)):
            started = time.process_time()
            epochs[name]()
            if round_number:  # the first pair warms up
                seconds[name].append(time.process_time() - started)
    ratios = np.array(seconds["ours"]) / np.array(seconds["plain"])
    medians = np.median(ratios[rng.integers(len(ratios), size=(2000, len(ratios)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    result = {
        "network": args.network,
        "step_ms": float(np.median(seconds["ours"]) / args.steps * 1e3),
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"{args.network}: {result['step_ms']:.1f} ms a step, {result['ratio']:.3f} [{low:.3f}, {high:.3f}] of a plain loop"
        )


if __name__ == "__main__":
    main()
