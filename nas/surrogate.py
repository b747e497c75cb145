"""A number predicted from the decisions of a candidate: gradient-boosted trees, fitted by scikit-learn, kept as plain arrays.

scikit-learn is imported only to fit; a prediction takes NumPy alone, some 0.1 ms for one candidate and less in batches.
On Accel-NASBench (arXiv 2404.08005) these trees reach Kendall's tau 0.918 for accuracy in cross-validation. Tried there: trees
of depth 3 (0.914 to 0.920), histogram-based boosting (0.909 to 0.920, at four times the cost), kernel ridge regression on
one-hot decisions (0.916; for latency 0.91 against the trees' 0.97).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nas.arch_table import ArchTable, Positions
from nas.errors import UserError
from nas.measurement_cache import cache_folder

VERSION = 1  # of the cached file; counts what changes predictions
NUM_FOLDS = 5
MIN_ARCHS = 4 * NUM_FOLDS
_OPTIONS: dict[str, Any] = {
    "n_estimators": 1000,
    "max_depth": 4,
    "learning_rate": 0.05,
    "subsample": 0.5,
    "max_features": 0.5,
    "random_state": 0,
}
_CHUNK = 256  # candidates predicted at a time: 2 MB of node numbers


@dataclass(frozen=True, slots=True)
class Quality:
    """How well architectures that were left out of the fit were predicted; five-fold cross-validation.

    Attributes:
        kendall_tau: of predictions and truth, tau-b.
        r2: share of the variance that is explained.
        rmse: root of the mean squared error, in units of the number.
        num_archs: distinct architectures with a number.
    """

    kendall_tau: float
    r2: float
    rmse: float
    num_archs: int

    def __str__(self) -> str:
        return (
            f"Kendall tau {self.kendall_tau:.3f}, R2 {self.r2:.3f} in {NUM_FOLDS}-fold cross-validation on "
            f"{self.num_archs} architectures"
        )


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The sum of many small trees. A node sends a candidate left where its position is at most the threshold.

    Attributes:
        feature: of each node of all trees, the number of a choice; 0 in a leaf.
        threshold: infinite in a leaf.
        left: number of a node; of a leaf, itself.
        right: as `left`.
        value: of a leaf: its summand.
        roots: node number of each tree's root.
        depth: longest way from a root to a leaf.
        base: summand of every candidate.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    depth: int
    base: float

    def predict(self, positions: Positions) -> NDArray[np.float64]:
        """The numbers of some candidates, shape (candidates,); each is independent of the others."""
        chunks = [positions[start : start + _CHUNK] for start in range(0, len(positions), _CHUNK)]
        return np.concatenate([self._predict(chunk) for chunk in chunks]) if chunks else np.empty(0)

    def _predict(self, positions: Positions) -> NDArray[np.float64]:
        rows = np.arange(len(positions))[:, None]
        node = np.broadcast_to(self.roots, (len(positions), len(self.roots)))
        for _ in range(self.depth):
            goes_left = positions[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        numbers: NDArray[np.float64] = self.base + self.value[node].sum(axis=1)
        return numbers


def fit(positions: Positions, numbers: NDArray[np.float64]) -> Surrogate:
    """Trees for the numbers of some candidates; the same for the same arguments.

    Args:
        positions: of the options, shape (candidates, choices).
        numbers: shape (candidates,).
    """
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(**_OPTIONS).fit(positions, numbers)
    trees = [tree.tree_ for tree in model.estimators_[:, 0]]
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees])

    first = np.repeat(roots, sizes)
    leaf = joined("children_left") < 0
    here = np.arange(len(leaf))
    return Surrogate(
        feature=np.where(leaf, 0, joined("feature")).astype(np.int32),
        threshold=np.where(leaf, np.inf, joined("threshold")),
        left=np.where(leaf, here, joined("children_left") + first).astype(np.int32),
        right=np.where(leaf, here, joined("children_right") + first).astype(np.int32),
        value=np.where(leaf, model.learning_rate * joined("value").reshape(-1), 0.0),
        roots=roots,
        depth=max(tree.max_depth for tree in trees),
        base=float(model.init_.constant_.reshape(-1)[0]),
    )


def cross_validated(positions: Positions, numbers: NDArray[np.float64]) -> Quality:
    """How well `fit` predicts architectures that it has not seen; at least `MIN_ARCHS` of them, not all equal."""
    from scipy.stats import kendalltau

    fold = np.random.default_rng(0).permutation(len(numbers)) % NUM_FOLDS
    predicted = np.empty(len(numbers))
    for number in range(NUM_FOLDS):
        out = fold == number
        predicted[out] = fit(positions[~out], numbers[~out]).predict(positions[out])
    error = float(np.mean((predicted - numbers) ** 2))
    return Quality(
        kendall_tau=float(kendalltau(predicted, numbers).statistic),
        r2=1 - error / float(np.var(numbers)),
        rmse=error**0.5,
        num_archs=len(numbers),
    )


def fitted(table: ArchTable, column: str, scale: float = 1.0) -> tuple[Surrogate, Quality]:
    """The surrogate for a column of a table, and how good it is; remembered in the user's cache folder.

    Args:
        table: architectures.
        column: of the numbers.
        scale: multiplies them.

    Raises:
        UserError: the column cannot be used, or has too few architectures.
    """
    positions, numbers = table.target(column, scale)
    if len(numbers) < MIN_ARCHS or np.ptp(numbers) == 0:
        raise UserError(
            f"table {table.source!r}: {len(numbers)} architectures with {len(np.unique(numbers))} values of {column} are "
            f"too few to fit a surrogate; it needs {MIN_ARCHS} that differ"
        )
    path = cache_folder() / "surrogates" / f"{_key(positions, numbers)}.npz"
    if (known := _read(path)) is not None:
        return known
    made = fit(positions, numbers), cross_validated(positions, numbers)
    _write(path, *made)
    return made


def _key(positions: Positions, numbers: NDArray[np.float64]) -> str:
    """What a fit is a function of: file, mapping and column are in the arrays."""
    digest = hashlib.sha256(json.dumps([VERSION, version("scikit-learn"), _OPTIONS, positions.shape]).encode())
    digest.update(np.ascontiguousarray(positions).tobytes() + np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path) -> tuple[Surrogate, Quality] | None:
    """What is remembered; None where there is nothing, or nothing that can be read: a cache may be written anew."""
    try:
        # Opened here, because NumPy leaves a damaged file open
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        return Surrogate(**arrays, **about["surrogate"]), Quality(**about["quality"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _write(path: Path, surrogate: Surrogate, quality: Quality) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {name: getattr(surrogate, name) for name in Surrogate.__dataclass_fields__}
    arrays: dict[str, Any] = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in fields.items() if name not in arrays}
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, about=json.dumps({"surrogate": rest, "quality": asdict(quality)}), **arrays)
    temporary.replace(path)
