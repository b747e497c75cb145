import zipfile

import numpy as np
import pytest

from nas.data import DataError, load_dataset

RNG = np.random.default_rng(0)
GOOD = {
    "x_train": RNG.integers(0, 256, (6, 4, 5, 3), np.uint8),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": RNG.integers(0, 256, (3, 4, 5, 3), np.uint8),
    "y_test": np.array([2, 1, 0]),
}


@pytest.fixture
def load(tmp_path):
    """Write arrays (None leaves one out) beside good ones, load the file."""

    def write_and_load(**changes):
        arrays = {name: array for name, array in {**GOOD, **changes}.items() if array is not None}
        np.savez(tmp_path / "set.npz", **arrays)
        return load_dataset(str(tmp_path / "set.npz"))

    return write_and_load


def test_round_trip(load, tmp_path):
    dataset = load(notes=np.array([1.0]))
    for name, array in GOOD.items():
        assert np.array_equal(getattr(dataset, name), array)
    assert dataset.y_train.dtype == np.int64
    assert (dataset.name, dataset.source) == ("set", str(tmp_path / "set.npz"))
    assert dataset.class_names == ("0", "1", "2")


def test_class_names_may_come_along(load):
    assert load(class_names=np.array(["cat", "dog", "cow", "none"])).class_names == ("cat", "dog", "cow", "none")
    with pytest.raises(
        DataError,
        match=r"class_names is <U3 of shape \(2,\); must be text, one name for each label from 0 to 2 \(y_\w+\[\d\]\)",
    ):
        load(class_names=np.array(["cat", "dog"]))


@pytest.mark.parametrize("grey_axis", [(), (1,)])
def test_grey_becomes_three_equal_channels(load, grey_axis):
    grey = {name: GOOD[name][..., 0].reshape(*GOOD[name].shape[:3], *grey_axis) for name in ("x_train", "x_test")}
    dataset = load(**grey)
    assert dataset.image_shape == (4, 5, 3)
    for channel in range(3):
        assert np.array_equal(dataset.x_train[..., channel], GOOD["x_train"][..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_and_as_a_column(load, dtype):
    dataset = load(y_train=GOOD["y_train"].astype(dtype)[:, None])
    assert dataset.y_train.dtype == np.int64
    assert np.array_equal(dataset.y_train, GOOD["y_train"])


def test_gap_in_the_labels_is_named(load):
    dataset = load(y_train=np.array([0, 1, 3, 0, 1, 3]), y_test=np.array([3, 1, 0]))
    assert (dataset.num_classes, dataset.empty_classes) == (4, (2,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_test": None, "y_test": None},
            r"lacks x_test, y_test \(found: x_train, y_train\); must hold x_train, y_train, x_test, y_test",
        ),
        ({"x_train": GOOD["x_train"] / 255}, "x_train is float64; images must be uint8 from 0 to 255"),
        ({"x_train": GOOD["x_train"].astype(np.int64)}, "x_train is int64"),
        (
            {"x_test": GOOD["x_test"].transpose(0, 3, 1, 2)},
            r"x_test has shape \(3, 3, 4, 5\); must be .*; it looks channels first: transpose\(0, 2, 3, 1\)",
        ),
        ({"x_test": GOOD["x_test"].reshape(3, 60)}, r"x_test has shape \(3, 60\); must be \(N, height, width, 3\)"),
        ({"x_train": GOOD["x_train"][:, :0]}, r"x_train has shape \(6, 0, 5, 3\)"),
        ({"x_train": GOOD["x_train"][:5]}, "x_train has 5 images but y_train has 6 labels"),
        ({"x_test": GOOD["x_test"][:, :3]}, "x_train has images of 4x5 and x_test of 3x5"),
        ({"y_train": np.array([0, 1, -2, 0, 1, 2])}, r"y_train\[2\] is -2; labels must not be negative"),
        ({"y_train": np.array([0, 1, np.nan, 0, 1, 2])}, r"y_train\[2\] is NaN; every image needs a label"),
        ({"y_train": GOOD["y_train"] * 1.0}, "y_train is float64; labels must be integers from 0"),
        ({"y_test": np.array(["a", "b", "c"])}, "y_test is <U1; labels must be integers"),
        ({"y_test": np.array([True, False, True])}, "y_test is bool; labels must be integers"),
        ({"y_train": np.eye(3, dtype=np.int64)[GOOD["y_train"]]}, r"y_train has shape \(6, 3\).*one-hot: argmax\(1\)"),
        ({"y_train": np.array(5)}, r"y_train has shape \(\); labels must be one integer an image"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64)}, "y_train has the label 18446744073709551615"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 900])}, r"y_train\[5\] is 900 with only 6 training images"),
        ({"y_train": np.zeros(6, np.int64)}, r"the train split has only one class \(0\)"),
        ({"y_test": np.array([3, 1, 0])}, "the test split has 1 classes without a training image: 3"),
        ({"x_test": GOOD["x_test"][:0], "y_test": GOOD["y_test"][:0]}, "the test split is empty"),
        ({"x_train": GOOD["x_train"][:0], "y_train": GOOD["y_train"][:0]}, "the train split is empty"),
        (
            {"y_train": np.array([0, 1, 2, 0, 1, None], dtype=object)},
            "y_train is a pickled object array, which is never loaded",
        ),
    ],
)
def test_errors_name_the_array_and_the_way_out(load, changes, message):
    with pytest.raises(DataError, match=r"set\.npz: " + message) as caught:
        load(**changes)
    assert "\n" not in str(caught.value)


def test_every_cut_is_an_error_and_leaves_no_file_open(load, tmp_path):
    load()
    path = tmp_path / "set.npz"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"set\.npz: not a readable \.npz file \(.*\); write or copy it again"):
            load_dataset(str(path))


def test_damage_inside_an_array_is_an_error(load, tmp_path):
    load()
    path = tmp_path / "set.npz"
    content = bytearray(path.read_bytes())
    at = content.index(GOOD["x_train"].tobytes()) + 100
    content[at] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x_train cannot be read \(BadZipFile: Bad CRC-32 .*the file is damaged"):
        load_dataset(str(path))


def test_array_larger_than_memory(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, **{name: array for name, array in GOOD.items() if name != "x_train"})
    with zipfile.ZipFile(path, "a") as archive, archive.open("x_train.npy", "w") as member:
        # more than the address space: refused under every setting of overcommitment
        shape = (10**15, 4, 5, 3)
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(DataError, match=r"x_train does not fit into memory .*take fewer images"):
        load_dataset(str(path))


def test_bare_array_under_the_name_of_an_archive(tmp_path):
    with (tmp_path / "set.npz").open("wb") as file:
        np.save(file, GOOD["x_train"])
    with pytest.raises(DataError, match=r"holds one bare array; write it with numpy\.savez\(x_train, y_train"):
        load_dataset(str(tmp_path / "set.npz"))
