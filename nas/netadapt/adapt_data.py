"""The images of an adaptation: which train, which of these calibrate, which are held out; the test split comes last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data import holdout_split
from nas.data_tensors import image_source
from nas.export import input_metadata
from nas.image_set import ImageSource, normalised
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.arms import ArmImages
from nas.train_data import TrainingData

NUM_COMPARED = 8  # images on which ONNX Runtime is compared with torch
SPLIT_FORMAT = "nas-adapt-split"
SPLIT_VERSION = 1


@dataclass(frozen=True)
class AdaptData:
    """A data set, divided.

    Attributes:
        images: see `ArmImages`.
        test: the test split; read once, in the end.
        class_names: of the data.
        split: numbers of the images, as ``split.json`` keeps them.
    """

    images: ArmImages
    test: ImageSource
    class_names: tuple[str, ...]
    split: Mapping[str, Any]

    @property
    def num_classes(self) -> int:
        """Of the data."""
        return len(self.class_names)

    @property
    def metadata(self) -> dict[str, str]:
        """Of exported networks."""
        return input_metadata(self.test.mean, self.test.std, self.class_names)

    @property
    def sample(self) -> Tensor:
        """A few normalised images, N x 3 x H x W."""
        images = self.images.calibration
        batch, _ = next(images.batches(torch.arange(min(NUM_COMPARED, len(images))), NUM_COMPARED))
        return normalised(batch, images.mean, images.std)


def divided(config: AdaptConfig, dataset: TrainingData) -> AdaptData:
    """`dataset` as `config` divides it: a function of its labels and the seed of the training.

    The same images are held out as in the training of the seed, which has not seen them.
    """
    section, seed = config.training.data, config.training.seed
    split = holdout_split(dataset.y_train, section.holdout, seed)
    rng = np.random.default_rng([seed, 1])
    holdout = rng.permutation(split.holdout)  # so that the first ones are of all classes
    calibration = rng.permutation(split.train)[: config.judging.num_calibration]
    numbers = {"holdout": holdout.tolist(), "calibration": calibration.tolist()}
    about = {
        "format": SPLIT_FORMAT,
        "version": SPLIT_VERSION,
        "of": "training images by number; those that are not held out are trained on",
        "sha256": hashlib.sha256(json.dumps(numbers).encode()).hexdigest(),
    }
    training, calibrating, holding = (
        image_source(dataset, section.resolution, indices=indices) for indices in (split.train, calibration, holdout)
    )
    return AdaptData(
        images=ArmImages(training, calibrating, holding),
        test=image_source(dataset, section.resolution, "test"),
        class_names=tuple(dataset.class_names),
        split=about | numbers,
    )
