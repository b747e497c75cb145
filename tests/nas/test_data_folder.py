import os
import shutil
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from nas.data import DataError, describe, load_dataset


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Noise; `size` is width, height."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.fixture
def root(tmp_path):
    """A good tree: classes ant and bee, 3 + 3 training and 2 + 2 validation images of 8 x 8 pixels."""
    root = tmp_path / "insects"
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture(100 * label + 10 * index + count).save(root / split / name / f"{index}.png")
    return root


def test_round_trip(root):
    dataset = load_dataset(str(root), image_size=8)
    assert (dataset.name, dataset.class_names) == ("insects", ("ant", "bee"))
    assert dataset.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.y_test.tolist() == [0, 0, 1, 1]
    assert np.array_equal(dataset.x_train[4], np.asarray(picture(113)))
    assert np.array_equal(dataset.x_test[1], np.asarray(picture(12)))
    assert load_dataset(str(root), image_size=8).fingerprint == dataset.fingerprint


def test_default_size_and_test_folder(root):
    (root / "val").rename(root / "test")
    assert describe(load_dataset(str(root)))["image_shape"] == [64, 64, 3]


def test_val_is_preferred_to_test(root):
    (root / "test").mkdir()
    assert len(load_dataset(str(root), image_size=8).x_test) == 4


def test_other_files_are_left_alone(root):
    (root / "train" / "ant" / "notes.txt").write_text("x")
    (root / "train" / "ant" / "._0.png").write_text("x")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "list.csv").write_text("x")
    assert len(load_dataset(str(root), image_size=8).x_train) == 6


@pytest.mark.parametrize(("size", "middle"), [((24, 8), np.s_[:, 8:16]), ((8, 24), np.s_[8:16, :])])
def test_longer_side_loses_its_ends(root, size, middle):
    wide = picture(7, size)
    wide.save(root / "train" / "ant" / "0.png")
    assert np.array_equal(load_dataset(str(root), image_size=8).x_train[0], np.asarray(wide)[middle])


def test_shrinking_is_antialiased(root):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(root / "train" / "ant" / "0.png")
    # without antialiasing stripes of one pixel stay black and white
    assert np.abs(load_dataset(str(root), image_size=8).x_train[0].astype(int) - 127).max() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_ordinary_mode_becomes_rgb(root, mode):
    image = picture(7, mode="L").convert("RGB").convert(mode)
    (root / "train" / "ant" / "0.png").unlink()
    image.save(root / "train" / "ant" / "0.tiff" if mode == "CMYK" else root / "train" / "ant" / "0.png")
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(load_dataset(str(root), image_size=8).x_train[0], expected)


def test_transparent_palette_does_not_warn(root):
    picture(7).quantize(16).save(root / "train" / "ant" / "0.png", transparency=bytes(range(16)))
    assert load_dataset(str(root), image_size=8).x_train.shape == (6, 8, 8, 3)


def test_camera_orientation_is_applied(root):
    upright = Image.fromarray(np.repeat(np.arange(0, 256, 4, np.uint8), 64 * 3).reshape(64, 64, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn 90 degrees clockwise to see it upright"
    (root / "train" / "ant" / "0.png").unlink()
    upright.rotate(90).save(root / "train" / "ant" / "0.jpg", exif=exif, quality=95)
    loaded = load_dataset(str(root), image_size=64).x_train[0]
    assert np.abs(loaded.astype(int) - np.asarray(upright)).max() < 12


def test_large_jpeg_is_decoded_at_a_fraction_without_harm(root):
    ramp = Image.fromarray(np.tile((np.arange(1024) // 4).astype(np.uint8)[:, None, None], (1, 1024, 3)))
    (root / "train" / "ant" / "0.png").unlink()
    ramp.save(root / "train" / "ant" / "0.jpeg", quality=95)
    loaded = load_dataset(str(root), image_size=16).x_train[0, :, :, 0].astype(int)
    assert np.abs(loaded - (np.arange(16)[:, None] * 16 + 7)).max() <= 4


def test_unreadable_images_are_counted_and_five_are_named(root):
    for index in range(6):
        (root / "train" / "bee" / f"broken{index}.jpg").write_bytes(b"no image")
    half = root / "val" / "ant" / "0.png"
    half.write_bytes(half.read_bytes()[:100])
    names = ", ".join(f"train/bee/broken{index}.jpg".replace("/", os.sep) for index in range(5))
    with pytest.raises(DataError) as caught:
        load_dataset(str(root))
    message = str(caught.value)
    assert f"insects: 7 of 16 images cannot be read: {names}, ... (the first: UnidentifiedImageError:" in message
    assert message.endswith("replace or delete them")
    assert "\n" not in message


def test_sixteen_bit_images_are_refused_rather_than_clipped(root):
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(root / "train" / "ant" / "0.png")
    with pytest.raises(DataError, match=r"1 of 10 images cannot be read.*more than 8 bits a channel"):
        load_dataset(str(root))


def test_class_that_train_lacks(root):
    shutil.move(root / "train" / "bee", root / "train" / "wasp")
    with pytest.raises(DataError, match=r"insects: val/ has 1 classes that train/ lacks: bee; .*same names"):
        load_dataset(str(root))


def test_class_that_val_lacks_is_fine(root):
    shutil.rmtree(root / "val" / "bee")
    assert load_dataset(str(root), image_size=8).counts("test").tolist() == [2, 0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_class_folder_without_images(root, split):
    for file in (root / split / "bee").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=rf"insects: no images in {split}/bee; put images there \(\.bmp, .*or remove"):
        load_dataset(str(root))


def test_split_without_class_folders(root):
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    with pytest.raises(DataError, match="no images in val/; put images there"):
        load_dataset(str(root))
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    with pytest.raises(DataError, match="no class folders in train/; it must hold one folder of images for each class"):
        load_dataset(str(root))


def test_only_one_class(root):
    shutil.rmtree(root / "train" / "bee")
    shutil.rmtree(root / "val" / "bee")
    with pytest.raises(DataError, match=r"only one class \(ant\)"):
        load_dataset(str(root))


def test_folder_without_its_splits(root, tmp_path):
    (root / "val").rename(root / "valid")
    with pytest.raises(DataError, match=r"insects: neither val/ nor test/ in it \(found: train, valid\)"):
        load_dataset(str(root))
    (root / "train").rename(root / "ants")
    with pytest.raises(DataError, match=r"insects: no train/ folder in it \(found: ants, valid\); a folder must hold"):
        load_dataset(str(root))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no train/ folder in it \(found: no folders\)"):
        load_dataset(str(tmp_path / "empty"))


def test_image_size_is_checked(root):
    with pytest.raises(DataError, match="image size 0: must be at least 1 pixel"):
        load_dataset(str(root), image_size=0)


def test_folder_larger_than_memory(root, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**20))
    with pytest.raises(
        DataError, match=r"10 images of 4096 pixels need 0\.9 GiB of memory and 0\.0 GiB are free; lower"
    ):
        load_dataset(str(root), image_size=4096)
