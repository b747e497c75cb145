"""Which decisions stand in each other's way when candidates share weights?

    python experiments/benchmarks/supernet_interference.py [--config RECIPE] [--data SPEC] [--anchor NETWORK] [--json]

A supernet is trained a little, one candidate a step, with one kind of decision left open (drawn uniformly) and all others as
in the anchor. Where its loss falls as that of the anchor alone does, the options agree on what the channels mean; where it
stays at that of guessing, they do not, and a supernet needs many more steps. For each sharing: loss at the end of the steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch
from rich.console import Console

from nas.config import Config, load_config
from nas.image_set import ImageSet
from nas.images import Images
from nas.network import resolve_network
from nas.path_gradients import PathGradients
from nas.path_sampling import uniform_path
from nas.training import Training
from nas.training_recipe import TrainingRecipe
from search_spaces.choice import Option
from search_spaces.sharing import Sharing
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet

EPOCHS = 5
BATCH = 64


def final_loss(
    config: Config,
    images: ImageSet,
    num_classes: int,
    anchor: dict[str, Option],
    kinds: Sequence[str],
    sharing: Sharing,
) -> float:
    """Mean training loss of the last epoch with decisions of some kinds open."""

    def near_the_anchor(space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        (drawn,) = uniform_path(space, generator)
        return [{name: drawn[name] if name.rpartition(".")[2] in kinds else anchor[name] for name in anchor}]

    space = config.search_space
    supernet = Supernet(space, config.data.resolution, num_classes, sharing)
    recipe = TrainingRecipe(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.05, warmup_epochs=0.5, clip_norm=5.0)
    training = Training(supernet, images, recipe, 0, PathGradients(supernet, near_the_anchor))
    return [training.next_epoch().loss for _ in range(EPOCHS)][-1]


def main() -> None:
    """Print a table of losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnas_large.yaml")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--anchor", default="mnasnet_a1", help="a network of the space")
    parser.add_argument("--sharing", nargs="*", default=["nested", "sliced", "op"], choices=get_args(Sharing))
    parser.add_argument("--threads", type=int, default=1, help="of torch; one is quickest where others use the cores")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = load_config(args.config, [f"data.source={json.dumps(args.data)}"])
    loaded = Images.load(config)
    images, _ = loaded.split(config)
    space, num_classes = config.search_space, loaded.dataset.num_classes
    anchor = space.encode(resolve_network(args.anchor))
    kinds = list(dict.fromkeys(choice.name.rpartition(".")[2] for choice in space.choices))
    log = Console(stderr=True)
    losses: dict[str, dict[str, float]] = {}
    for sharing in args.sharing:
        for name, opened in {"none": [], **{kind: [kind] for kind in kinds}, "all": kinds}.items():
            loss = final_loss(config, images, num_classes, anchor, opened, sharing)
            losses.setdefault(name, {})[sharing] = loss
            log.print(f"{sharing}, open: {name}: {loss:.2f}", highlight=False)
    result = {"guessing": float(np.log(num_classes)), "epochs": EPOCHS, "num_images": len(images), "losses": losses}
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"training loss after {EPOCHS} epochs of {len(images)} images; guessing has {result['guessing']:.2f}")
    print(f"{'open':10}" + "".join(f"{sharing:>10}" for sharing in args.sharing))
    for name, of in losses.items():
        print(f"{name:10}" + "".join(f"{of[sharing]:10.2f}" for sharing in args.sharing))


if __name__ == "__main__":
    main()
