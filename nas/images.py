"""What a recipe trains on: a data set, its splits as tensors, the proxy task on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas import data
from nas.config import Config
from nas.data_tensors import prepare
from nas.dataset import Dataset
from nas.training import ImageSet

ADVICE = "lower data.resolution, or take fewer images with data.num_train and data.num_test (nas train streams them)"
# of each image: as it is decoded, as tensors, in the parts that train and score, and these once more for the trials
COPIES = 4


@dataclass(frozen=True)
class Images:
    """A data set, and its splits at the training resolution."""

    dataset: Dataset
    training: ImageSet
    test: ImageSet

    @classmethod
    def load(cls, config: Config) -> Images:
        """The data set that `config` names; raises UserError where it cannot be used."""
        section = config.data
        found = data.open_dataset(section.source)
        if section.num_train or section.num_test:
            found = data.subset(found, section.num_train, section.num_test, config.seed)
        if isinstance(found, data.ImageFolder):
            found = found.decoded(section.resolution, ADVICE, COPIES)
        return cls(found, prepare(found, section.resolution), prepare(found, section.resolution, "test"))

    def split(self, config: Config) -> tuple[ImageSet, ImageSet]:
        """Of the training split, the images that train candidates and those that score them."""
        split = data.holdout_split(self.dataset.y_train, config.data.holdout, config.seed)
        train, holdout = torch.from_numpy(split.train), torch.from_numpy(split.holdout)
        return self.training.select(train), self.training.select(holdout)


def load_images(config: Config) -> Images | None:
    """What `config` trains on; None when it trains nothing.

    Raises:
        UserError: the data cannot be used.
    """
    return Images.load(config) if config.evaluator.trains or config.final else None
