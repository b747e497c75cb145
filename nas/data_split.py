"""Parts of an image set: a held-out part of the training split, and class-balanced subsets."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from nas.dataset import DataError, Labels, Part


class Divisible(Protocol):
    """A labelled set of which one can take a part: a `Dataset`, or an `ImageFolder` that is not decoded yet."""

    @property
    def source(self) -> str:
        """See `LabelledImages`."""
        ...

    def labels(self, part: Part) -> Labels:
        """Labels of one split."""
        ...

    def counts(self, part: Part) -> Labels:
        """Number of images of each class in one split."""
        ...

    def taking(self, train: Labels, test: Labels, source: str) -> Self:
        """Only the images at these numbers (int64) of the two splits; `source` says so."""
        ...


D = TypeVar("D", bound=Divisible)


class Split(NamedTuple):
    """Indices into a training split: sorted int64 arrays, disjoint, together all of it."""

    train: Labels
    holdout: Labels


def holdout_split(labels: Labels, fraction: float, seed: int) -> Split:
    """Divide a training split for a search: one part trains, the other judges.

    Stratified: each class gives `fraction` of its images, to within 1.5 images, at least one, and keeps at least one.
    Takes labels, not a data set, so that the test split cannot come into it. A function of its arguments alone.

    Args:
        labels: of the training split, integers from 0; shape N.
        fraction: held out of all, in (0, 1).
        seed: at least 0.

    Raises:
        DataError: fraction or seed out of range, or a class with a single image.
    """
    if not 0 < fraction < 1:
        raise DataError(f"held-out fraction {fraction}: must be above 0 and below 1")
    counts = np.bincount(labels)
    if not counts.size:
        raise DataError("held-out split of 0 training images: there is nothing to divide")
    if (counts == 1).any():
        alone = np.flatnonzero(counts == 1)
        raise DataError(
            f"held-out split: {len(alone)} of {(counts > 0).sum()} classes have a single training image (class "
            f"{', '.join(map(str, alone[:5]))}); each needs 2 or more: take more training images"
        )
    total = int(fraction * len(labels) + 0.5)
    wanted = np.clip(stratified_counts(counts, total), np.minimum(counts, 1), np.maximum(counts - 1, 0))
    holdout = _draw(labels, wanted, _generator(seed))
    return Split(np.setdiff1d(np.arange(len(labels)), holdout), holdout)


def subset(dataset: D, num_train: int | None, num_test: int | None, seed: int = 0) -> D:
    """A smaller set with the same classes, equally many images of each, to within one, as far as a class has them.

    Subsets of one seed are nested: a larger one holds the smaller ones.

    Args:
        dataset: to draw from, without replacement.
        num_train: training images; None is all of them.
        num_test: test images; None is all of them.
        seed: at least 0.

    Raises:
        DataError: more images wanted than there are, or fewer than classes.
    """
    train = _balanced(dataset, "train", num_train, seed)
    test = _balanced(dataset, "test", num_test, seed)
    return dataset.taking(train, test, f"{dataset.source} (subset of {len(train)} + {len(test)}, seed {seed})")


def stratified_counts(counts: Labels, total: int) -> Labels:
    """`total` images shared out in proportion to the class sizes, by largest remainders, ties to the lower class.

    Args:
        counts: images of each class, not all 0.
        total: in [0, sum of counts].
    """
    shares = counts * total  # integers, so that the shares are the same on every machine
    taken: Labels = shares // counts.sum()
    missing = total - int(taken.sum())
    taken[np.argsort(-(shares % counts.sum()), kind="stable")[:missing]] += 1
    return taken


def stratified_draw(labels: Labels, total: int, seed: int) -> Labels:
    """Sorted indices of `total` labels, each class in proportion."""
    return _draw(labels, stratified_counts(np.bincount(labels), total), _generator(seed))


def _balanced(dataset: Divisible, part: Part, total: int | None, seed: int) -> Labels:
    counts, labels = dataset.counts(part), dataset.labels(part)
    if total is None:
        return np.arange(len(labels))
    num_present = int((counts > 0).sum())
    if not num_present <= total <= len(labels):
        raise DataError(
            f"{dataset.source}: a subset of {total} {part} images; must be from {num_present} (one of each class) "
            f"to {len(labels)} (all there are)"
        )
    # a different stream for each part: equal class sizes must not mean equal positions
    return _draw(labels, _level_counts(counts, total), _generator(seed, int(part == "test")))


def _level_counts(counts: Labels, total: int) -> Labels:
    """`total` images shared out as equally as the class sizes allow, odd ones to the lower classes."""
    level = int(counts.max())
    while np.minimum(counts, level - 1).sum() >= total:
        level -= 1
    taken = np.minimum(counts, level)
    surplus = int(taken.sum()) - total
    taken[np.flatnonzero(counts >= level)[::-1][:surplus]] -= 1
    return taken


def _draw(labels: Labels, wanted: Labels, rng: np.random.Generator) -> Labels:
    """Sorted indices of `wanted[c]` random labels of each class c."""
    drawn = [rng.permutation(np.flatnonzero(labels == index))[:count] for index, count in enumerate(wanted)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _generator(seed: int, stream: int = 0) -> np.random.Generator:
    if seed < 0:
        raise DataError(f"seed {seed}: must be 0 or more")
    return np.random.default_rng([seed, stream])
