"""How evolutionary controllers make new candidates: draws, mutations, and steps away from what is known."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from controllers.ledger import Candidate

_MAX_STEPS = 8  # away from a neighbourhood in which everything is known


def drawn(num_options: Sequence[int], rng: np.random.Generator) -> Candidate:
    """A candidate, uniform over combinations."""
    return tuple(rng.integers(num_options).tolist())


def mutated(parent: Candidate, num_options: Sequence[int], rng: np.random.Generator) -> Candidate:
    """`parent` with another option in one decision; decision and option are uniform.

    Decisions with a single option are left alone; `parent` itself where there are no others.
    """
    free = [t for t, k in enumerate(num_options) if k > 1]
    if not free:
        return parent
    t = free[int(rng.integers(len(free)))]
    other = int(rng.integers(num_options[t] - 1))
    return (*parent[:t], other + (other >= parent[t]), *parent[t + 1 :])


def first_unknown(candidates: Sequence[Candidate], known: Container[Candidate]) -> Candidate:
    """The first of `candidates` that is not in `known`; the last where all of them are."""
    return next((candidate for candidate in candidates if candidate not in known), candidates[-1])


def unknown_near(
    candidate: Candidate, num_options: Sequence[int], known: Container[Candidate], rng: np.random.Generator
) -> Candidate:
    """`candidate` if it is not in `known`, or else one near it that is not.

    Tries all candidates that differ in one decision, a random decision after the other, and where all of them are known
    goes on from one of them. It gives up after some steps and returns `candidate`, where nothing else seems to be left.
    Where only `candidate` is known, this is `mutated`.
    """
    if candidate not in known:
        return candidate
    start = candidate
    for _ in range(_MAX_STEPS):
        for t in rng.permutation(len(num_options)).tolist():
            for option in rng.permutation(num_options[t]).tolist():
                near = (*start[:t], option, *start[t + 1 :])
                if near not in known:
                    return near
        start = mutated(start, num_options, rng)
    return candidate
