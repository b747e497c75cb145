"""torchvision and timm: the oracles of weights interchange."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import nn

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision_model(name: str, **options: object) -> nn.Module:
    """torchvision's network of that name, without pretrained weights."""
    _import_torchvision()
    return importlib.import_module("torchvision.models").get_model(name, weights=None, **options)


def timm_model(name: str, **options: object) -> nn.Module:
    """timm's network of that name, without pretrained weights."""
    _import_torchvision()  # which timm imports
    return importlib.import_module("timm").create_model(name, pretrained=False, **options)


LIBRARIES: dict[str, Callable[..., nn.Module]] = {"torchvision": torchvision_model, "timm": timm_model}


def _import_torchvision() -> None:
    """Its classifiers are plain torch, but its import asks for two operators of its compiled part.

    That part needs CUDA's libraries in the build that PyPI has, and does not load beside a torch built for CPUs.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for operator in _OPERATORS:
            torch.library.define(f"torchvision::{operator}", _SCHEMA)
        importlib.import_module("torchvision")


def randomised(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode, with weights, biases and statistics of BN that no two tensors share.

    Compare outputs in float64: random networks with ReLU6 amplify rounding.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif tensor.ndim >= 2:  # activations of one size: variance 2 / fan_in
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0, 0.1, generator=generator)
    return module.eval()
