import numpy as np
import pytest
import torch

from nas.data import DataError, holdout_split, load_dataset
from nas.data_tensors import prepare, resize_images


def test_own_resolution_is_the_images_themselves():
    x = np.random.default_rng(0).integers(0, 256, (700, 6, 6, 3), np.uint8)
    images = resize_images(x, 6)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), x)


@pytest.mark.parametrize("resolution", [1, 5, 16, 33])
def test_constant_images_stay_constant(resolution):
    x = np.repeat(np.arange(256, dtype=np.uint8), 6 * 9 * 3).reshape(256, 6, 9, 3)
    images = resize_images(x, resolution)
    assert images.shape == (256, 3, resolution, resolution)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert (images == torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)).all()


def test_longer_side_loses_its_ends_and_shrinking_is_antialiased():
    x = np.zeros((1, 32, 96, 3), np.uint8)
    x[:, :, 32:64:2] = 255
    # without antialiasing stripes of one pixel stay black and white; the outermost pixels see half a stripe more
    images = resize_images(x, 8).int()
    assert (images - 127).abs().max() < 12


def test_chunks_do_not_show():
    x = np.random.default_rng(0).integers(0, 256, (1100, 6, 6, 3), np.uint8)
    assert torch.equal(resize_images(x, 4)[1000:], resize_images(x[1000:], 4))


def test_resolution_is_checked():
    with pytest.raises(DataError, match="resolution 0: must be at least 1 pixel"):
        resize_images(np.zeros((1, 4, 4, 3), np.uint8), 0)


def test_prepared_split_is_normalised_by_the_training_split():
    digits = load_dataset("digits")
    train, test = prepare(digits, 8), prepare(digits, 16, "test")
    assert (len(train), len(test)) == (1437, 360)
    assert test.images.shape == (360, 3, 16, 16)
    assert (train.mean, train.std) == (test.mean, test.std) == digits.statistics
    assert train.labels.dtype == torch.int64
    batch = train.normalised(train.images)
    assert batch.mean((0, 2, 3)).abs().max() < 1e-4
    assert (batch.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_held_out_part_selects():
    digits = load_dataset("digits")
    split = holdout_split(digits.y_train, 0.2, seed=0)
    held = prepare(digits, 8).select(torch.from_numpy(split.holdout))
    assert np.array_equal(held.labels.numpy(), digits.y_train[split.holdout])
    assert np.array_equal(held.images.permute(0, 2, 3, 1).numpy(), digits.x_train[split.holdout])
