"""What a recipe trains on: a data set, its splits as tensors, the proxy task on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas import data
from nas.config import Config
from nas.data_tensors import prepare
from nas.dataset import Dataset
from nas.evaluator import ProxyTrainer
from nas.training import ImageSet
from nas.training_recipe import TrainingRecipe


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
        dataset = data.load_dataset(section.source, image_size=section.resolution)
        if section.num_train or section.num_test:
            dataset = data.subset(dataset, section.num_train, section.num_test, config.seed)
        return cls(dataset, prepare(dataset, section.resolution), prepare(dataset, section.resolution, "test"))

    def evaluator(self, config: Config) -> ProxyTrainer:
        """The proxy task of `config` on the training split."""
        split = data.holdout_split(self.dataset.y_train, config.data.holdout, config.seed)
        return ProxyTrainer(
            self.training.select(torch.from_numpy(split.train)),
            self.training.select(torch.from_numpy(split.holdout)),
            TrainingRecipe(**config.evaluator.training.model_dump()),
            self.dataset.num_classes,
        )


def load_images(config: Config) -> Images | None:
    """What `config` trains on; None when it trains nothing.

    Raises:
        UserError: the data cannot be used.
    """
    return Images.load(config) if config.evaluator.name == "train" or config.final else None
