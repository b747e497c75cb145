import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data import DataError, Dataset, channel_statistics, describe, holdout_split, load_dataset, subset


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def make_dataset(train_counts: list[int], test_counts: list[int] | None = None) -> Dataset:
    """Noise of 4 x 5 pixels with the given number of images of each class, classes interleaved."""
    labels = {
        part: np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
        for part, counts in (("train", train_counts), ("test", test_counts or train_counts))
    }
    return Dataset(
        name="noise",
        source="noise.npz",
        x_train=noise(len(labels["train"]), 4, 5, 3),
        y_train=labels["train"],
        x_test=noise(len(labels["test"]), 4, 5, 3, seed=1),
        y_test=labels["test"],
        class_names=tuple(f"class{index}" for index in range(len(train_counts))),
    )


def test_digits_figures():
    digits = load_dataset("digits")
    assert (len(digits.x_train), len(digits.x_test), digits.num_classes) == (1437, 360, 10)
    assert digits.image_shape == (8, 8, 3)
    assert (digits.x_train[..., 0] == digits.x_train[..., 2]).all()
    assert set(np.unique(digits.x_train)) == {(value * 255 + 8) // 16 for value in range(17)}
    # every class gives 20 % of its images to the test split
    share = digits.counts("test") / (digits.counts("train") + digits.counts("test"))
    assert np.abs(share - 360 / 1797).max() < 0.005
    # frozen: results on digits compare across versions only while this split stays what it is
    assert digits.fingerprint == "a5d88b34f728071a"


def test_looking_at_data_does_not_import_torch():
    code = "import sys, nas.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spec", ["nowhere", "nowhere.npz", "~no-such-user/x.npz"])
def test_missing_source_names_the_allowed_ones(spec):
    with pytest.raises(DataError, match=r"no such file or folder; allowed are digits, a \.npz file, or a folder"):
        load_dataset(spec)


def test_other_files_are_not_data_sets(tmp_path):
    (tmp_path / "set.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"set\.csv': not a \.npz file; allowed are digits"):
        load_dataset(str(tmp_path / "set.csv"))


def test_fingerprint_follows_pixels_labels_and_order_but_not_names():
    dataset = make_dataset([3, 4])
    pixels = dataset.x_test.copy()
    pixels[2, 1, 1, 1] ^= 1
    labels = dataset.y_train.copy()
    labels[0] = 1 - labels[0]
    changed = [
        replace(dataset, x_test=pixels),
        replace(dataset, y_train=labels),
        replace(dataset, x_train=dataset.x_train[::-1]),
    ]
    assert len({dataset.fingerprint, *(other.fingerprint for other in changed)}) == 4
    assert len(dataset.fingerprint) == 16
    assert replace(dataset, name="other", source="other").fingerprint == dataset.fingerprint


def test_arrays_cannot_be_written_to():
    dataset = make_dataset([3, 4])
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_train[0] = 0
    assert dataset.x_train[np.array([0])].flags.writeable


def test_description_is_json():
    dataset = replace(make_dataset([3, 4]), class_names=("class0", "class1", "spare"))
    said = json.loads(json.dumps(describe(dataset)))
    assert said.pop("channel_mean") == pytest.approx(dataset.x_train.mean((0, 1, 2)) / 255)
    assert said.pop("channel_std") == pytest.approx(dataset.x_train.std((0, 1, 2)) / 255)
    assert said == {
        "name": "noise",
        "source": "noise.npz",
        "num_classes": 3,
        "class_names": ["class0", "class1", "spare"],
        "empty_classes": ["spare"],
        "image_shape": [4, 5, 3],
        "num_train": 7,
        "num_test": 7,
        "train_per_class": {"class0": 3, "class1": 4, "spare": 0},
        "test_per_class": {"class0": 3, "class1": 4, "spare": 0},
        "fingerprint": dataset.fingerprint,
    }


def test_channel_statistics_are_exact_over_chunks():
    x = noise(2500, 3, 2, 3)
    mean, std = channel_statistics(x)
    assert mean == pytest.approx((x / 255).mean((0, 1, 2)), rel=1e-12)
    assert std == pytest.approx((x / 255).std((0, 1, 2)), rel=1e-12)


def test_channel_statistics_of_a_constant_divide_safely():
    assert channel_statistics(np.full((2, 3, 3, 3), 255, np.uint8)) == ((1.0,) * 3, (1 / 255,) * 3)
    with pytest.raises(DataError, match="there are no pixels"):
        channel_statistics(noise(0, 3, 3, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": noise(7, 4, 5)}, r"x_train is uint8 of shape \(7, 4, 5\); must be uint8 of shape \(N, height"),
        ({"x_test": np.zeros((7, 4, 5, 3))}, "x_test is float64"),
        ({"y_train": np.zeros(7, np.int32)}, r"y_train is int32 of shape \(7,\); must be int64"),
        ({"y_test": np.zeros(6, np.int64)}, "x_test has 7 images but y_test has 6 labels"),
        ({"x_test": noise(7, 5, 4, 3)}, "x_train has images of 4x5 and x_test of 5x4; bring them to one size"),
        ({"x_test": noise(0, 4, 5, 3), "y_test": np.zeros(0, np.int64)}, "the test split is empty"),
        ({"y_train": np.array([0, 1, 0, 1, 2, 0, 1])}, r"y_train\[4\] is 2; labels must be from 0 to 1"),
        ({"y_test": np.array([0, 1, 0, -1, 0, 0, 1])}, r"y_test\[3\] is -1; labels must be from 0 to 1"),
        ({"y_train": np.ones(7, np.int64)}, r"the train split has only one class \(class1\)"),
        ({"class_names": ("a", "a")}, "class names repeat: a; give each"),
        (
            {"class_names": ("a", "b", "c"), "y_test": np.array([2, 1, 0, 1, 0, 0, 1])},
            "the test split has 1 classes without a training image: c; add",
        ),
    ],
)
def test_dataset_refuses_what_does_not_fit(change, message):
    with pytest.raises(DataError, match=r"noise\.npz: " + message) as caught:
        replace(make_dataset([3, 4]), **change)
    assert "\n" not in str(caught.value)


# held-out split

class_sizes = st.lists(st.one_of(st.just(0), st.integers(2, 40)), min_size=1, max_size=12).filter(any)
fractions = st.floats(0.001, 0.999)
seeds = st.integers(0, 2**32)


@given(class_sizes, fractions, seeds)
def test_holdout_is_a_stratified_partition(sizes, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = holdout_split(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(len(labels)))  # disjoint and complete
    for indices in split:
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        present = np.bincount(labels[indices], minlength=len(sizes)) > 0
        assert np.array_equal(present, np.array(sizes) > 0)
    held = np.bincount(labels[split.holdout], minlength=len(sizes))
    assert np.abs(held - fraction * np.array(sizes)).max() < 1.5
    again = holdout_split(labels, fraction, seed)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))


def test_holdout_follows_the_seed_and_is_exact_where_it_can_be():
    labels = np.repeat(np.arange(10), 50)
    first, second = (holdout_split(labels, 0.1, seed) for seed in (0, 1))
    assert np.bincount(labels[first.holdout]).tolist() == [5] * 10
    assert not np.array_equal(first.holdout, second.holdout)


@pytest.mark.parametrize(
    ("labels", "fraction", "seed", "message"),
    [
        ([0, 0, 1, 1], 0.0, 0, "held-out fraction 0.0: must be above 0 and below 1"),
        ([0, 0, 1, 1], 1.0, 0, "held-out fraction 1.0"),
        ([0, 0, 1, 1], float("nan"), 0, "held-out fraction nan"),
        ([0, 0, 1, 1], 0.5, -1, "seed -1: must be 0 or more"),
        ([0, 0, 3, 1], 0.5, 0, r"2 of 3 classes have a single training image \(class 1, 3\); each needs 2 or more"),
        ([], 0.5, 0, "0 training images"),
    ],
)
def test_holdout_errors(labels, fraction, seed, message):
    with pytest.raises(DataError, match=message):
        holdout_split(np.array(labels, np.int64), fraction, seed)


# subsets


@given(st.data(), st.lists(st.integers(1, 20), min_size=2, max_size=6), seeds)
def test_subset_is_balanced_and_nested(data, sizes, seed):
    dataset = make_dataset(sizes)
    num_large = data.draw(st.integers(len(sizes), sum(sizes)))
    num_small = data.draw(st.integers(len(sizes), num_large))
    small, large = (subset(dataset, count, None, seed) for count in (num_small, num_large))
    counts = large.counts("train")
    assert (len(large.x_train), len(small.x_train)) == (num_large, num_small)
    # a class has fewer than the fullest one, by more than one, only when it has no more to give
    assert all(count >= counts.max() - 1 or count == size for count, size in zip(counts, sizes, strict=True))
    rows = {image.tobytes() for image in large.x_train}
    assert all(image.tobytes() in rows for image in small.x_train)
    assert np.array_equal(large.x_test, dataset.x_test)
    assert subset(dataset, num_small, None, seed).fingerprint == small.fingerprint


def test_subset_keeps_images_with_their_labels_and_says_what_it_is():
    dataset = make_dataset([30, 30, 30])
    part = subset(dataset, 6, 3, seed=5)
    label_of = {image.tobytes(): label for image, label in zip(dataset.x_train, dataset.y_train, strict=True)}
    assert [label_of[image.tobytes()] for image in part.x_train] == part.y_train.tolist()
    assert part.counts("test").tolist() == [1, 1, 1]
    assert part.source == "noise.npz (subset of 6 + 3, seed 5)"
    assert part.fingerprint != dataset.fingerprint
    assert subset(dataset, 6, 3, seed=6).fingerprint != part.fingerprint


@pytest.mark.parametrize(
    ("num_train", "num_test", "seed", "message"),
    [
        (8, None, 0, r"a subset of 8 train images; must be from 2 \(one of each class\) to 7 \(all there are\)"),
        (None, 1, 0, "a subset of 1 test images; must be from 2"),
        (2, None, -3, "seed -3: must be 0 or more"),
    ],
)
def test_subset_errors(num_train, num_test, seed, message):
    with pytest.raises(DataError, match=message):
        subset(make_dataset([3, 4]), num_train, num_test, seed)
