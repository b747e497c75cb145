"""A supernet whose blocks learn from a trained network what their channels mean; a way of `supernet_recipes.py`.

Where every block is drawn anew in each step, the options of a large space do not come to mean the same by their channels.
Here one candidate, the guide, is trained by itself first. Each block of a drawn candidate then learns to give what the
guide's block gives (DNA, arXiv 1911.13053, section 3.2), at first from what the guide's block gets, so that blocks
learn side by side; and more and more often from what the candidate's own blocks give, so that they learn to work together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.gradients import mixed_precision
from nas.image_set import ImageSet
from nas.path_sampling import uniform_path
from nas.training import train
from nas.training_recipe import TrainingRecipe
from search_spaces.choice import Choice, Option
from search_spaces.graph import INPUT
from search_spaces.lower import lower
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet
from search_spaces.torch_module import GraphModule, Program, build_module

HAND_OVER = 0.5
"""Share of the steps in the course of which candidates come to work on their own."""

CLASSES_WEIGHT = 0.5
"""Of the cross entropy of the candidate's logits, beside the blocks' losses, each in [0, 2]."""

_EPSILON = 1e-4


def guide_option(choice: Choice) -> Option:
    """Of the guide: what trains well, and as wide as any candidate."""
    wanted: Mapping[str, Option] = {"op": "mbconv6", "kernel": 5, "se": 0.25, "skip": "identity"}
    kind = choice.name.rpartition(".")[2]
    if kind in wanted:
        return wanted[kind]
    middle = len(choice.options) // 2
    return choice.options[-1] if kind == "filters" else choice.options[middle]


def trained_guide(
    space: SearchSpace, resolution: int, images: ImageSet, recipe: TrainingRecipe, seed: int
) -> GraphModule:
    """The guide, trained; frozen, with its running statistics."""
    arch = space.to_arch({choice.name: guide_option(choice) for choice in space.choices})
    guide = build_module(lower(arch, resolution, int(images.labels.max()) + 1), seed).to(images.device)
    for _ in train(guide, images, recipe, seed):
        pass
    return guide.eval().requires_grad_(False)


def block_ends(program: Program) -> list[tuple[int, str]]:
    """For each block, how many operations are done when it is, and the name of what it gives."""
    blocks = [step.output.partition(".")[0] for step in program.steps]
    following = [*blocks[1:], ""]
    return [
        (position, step.output)
        for position, (step, block, after) in enumerate(zip(program.steps, blocks, following, strict=True), start=1)
        if block != after and block[:1] == "b" and block[1:].isdigit()
    ]


def disagreement(given: Tensor, wanted: Tensor) -> Tensor:
    """1 - correlation over images and positions, mean over channels; `wanted` may have more, of which the first count."""

    def standardised(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + _EPSILON)

    return 1 - (standardised(given) * standardised(wanted[:, : given.shape[1]])).mean()


class GuidedGradients:
    """As `nas.gradients.Gradients`: one uniform candidate a step, guided.

    Args:
        supernet: whose parameters.
        guide: a trained candidate, as wide as any.
        num_steps: of the training.
    """

    def __init__(self, supernet: Supernet, guide: GraphModule, num_steps: int) -> None:
        self._supernet = supernet
        self._guide = guide
        self._num_steps = num_steps
        self._step = 0

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Add the gradients of one batch; gives the cross entropy, detached."""
        (choices,) = uniform_path(self._supernet.space, generator)
        path = self._supernet.path(choices)
        taken_over = max(0.0, 1 - self._step / (HAND_OVER * self._num_steps))
        self._step += 1
        with mixed_precision(images.device):
            wanted = self._wanted(images)
            logits, losses = _guided(path.program, images, wanted, taken_over, generator)
            loss = F.cross_entropy(logits, labels)
        (CLASSES_WEIGHT * loss + sum(losses)).backward()
        return loss.detach()

    @torch.no_grad()
    def _wanted(self, images: Tensor) -> list[Tensor]:
        program = self._guide.program
        alive, done, found = {INPUT: images}, 0, []
        for position, name in block_ends(program):
            alive, done = dict(program.advance(alive, done, position)), position
            found.append(alive[name])
        return found


def _guided(
    program: Program, images: Tensor, wanted: list[Tensor], taken_over: float, generator: torch.Generator
) -> tuple[Tensor, list[Tensor]]:
    """A candidate's logits, and for each block how far it is from the guide.

    With probability `taken_over`, drawn for each block, the next one gets what the guide's gets.
    """
    alive, done, losses = {INPUT: images}, 0, []
    for (position, name), goal in zip(block_ends(program), wanted, strict=True):
        alive, done = dict(program.advance(alive, done, position)), position
        losses.append(disagreement(alive[name], goal))
        if float(torch.rand((), generator=generator)) < taken_over:
            alive[name] = goal[:, : alive[name].shape[1]]
    return program.advance(alive, done, len(program.steps))[program.outputs[0]], losses
