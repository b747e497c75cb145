"""What a search takes into memory."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from nas.config import load_config
from nas.data import subset
from nas.dataset import DataError
from nas.image_folder import list_image_folder
from nas.image_set import ImageSet
from nas.images import Images


@pytest.fixture
def config(tmp_path):
    """Of a folder with 8 + 4 images, of which 4 + 2 are wanted."""
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "insects" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                values = np.random.default_rng(index).integers(0, 256, (9, 9, 3), np.uint8)
                Image.fromarray(values).save(folder / f"{index}.png")
    recipe = tmp_path / "recipe.yaml"
    source = tmp_path / "insects"
    recipe.write_text(f"data: {{source: {source}, resolution: 8, num_train: 4, num_test: 2}}")
    return load_config(str(recipe))


def test_only_the_images_that_are_wanted_are_decoded(config):
    folder = list_image_folder(Path(config.data.source))
    wanted = subset(folder, 4, 2, config.seed)
    for file in set(folder.files.tolist()) - set(wanted.files.tolist()):
        (folder.root / file.decode()).write_bytes(b"no image")
    images = Images.load(config)
    assert images.training.images.shape == (4, 3, 8, 8)
    assert images.dataset.counts("train").tolist() == [2, 2]
    assert images.dataset.source == f"{folder.root} (subset of 4 + 2, seed 0)"
    assert images.dataset.fingerprint == wanted.decoded(8).fingerprint


def test_more_than_the_memory_holds(config, monkeypatch):
    needed = 4 * 6 * 8 * 8 * 3
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    Images.load(config)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(
        DataError, match=r"6 images of 8 pixels need .* are free; lower data\.resolution, or .*num_train"
    ):
        Images.load(config)


def test_images_that_a_device_has_no_room_for_stay_where_they_are(monkeypatch):
    """The labels go, and each batch when its turn comes; here to a device that holds nothing."""
    images = torch.zeros(6, 3, 4, 4, dtype=torch.uint8)
    data = ImageSet(images, torch.arange(6).to("meta"), (0.5,) * 3, (0.3,) * 3)
    batches = list(data.select(torch.arange(5)).batches(torch.arange(5), 2))
    assert [(batch.device.type, tuple(batch.shape), len(labels)) for batch, labels in batches] == [
        ("meta", (n, 3, 4, 4), n) for n in (2, 2, 1)
    ]
    moved = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append(len(tensor.shape)) or tensor)
    for free_bytes, tensors in ((2 * images.nbytes, [4, 1]), (2 * images.nbytes - 2, [1])):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free_bytes=free_bytes: (free_bytes, 2**40))
        moved.clear()
        data.to(torch.device("cuda"))
        assert moved == tensors
