"""Export: a trained network as ONNX, safetensors and JSON, the ONNX file compared with torch before it counts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from nas.run_folder import write_json
from nas.weights import NATIVE, save_weights
from search_spaces.arch import ArchSpec
from search_spaces.arch_json import arch_to_json
from search_spaces.lower import lower
from search_spaces.onnx_model import check_model, emit_onnx, given_weights
from search_spaces.torch_module import GraphModule, folded_weights

ARCH = "arch.json"
MODEL = "model.onnx"
WEIGHTS = "weights.safetensors"
MAX_DIFFERENCE = 1e-4  # between torch and ONNX Runtime, relative to the largest logit


def input_metadata(mean: Sequence[float], std: Sequence[float], class_names: Sequence[str]) -> dict[str, str]:
    """What a user of the model must know of its input and output.

    Args:
        mean: that was subtracted from images in [0, 1], per channel.
        std: by which the rest was divided.
        class_names: one for each logit.
    """
    return {
        "classes": json.dumps(class_names),
        "input": "RGB in [0, 1], minus mean, over std, channels first",
        "mean": json.dumps(mean),
        "std": json.dumps(std),
    }


def export(
    arch: ArchSpec,
    module: GraphModule,
    sample: Tensor,
    metadata: Mapping[str, str],
    folder: Path,
    convention: str = NATIVE,
) -> float:
    """Write ``arch.json``, ``model.onnx`` and ``weights.safetensors`` of a network, and check the ONNX file.

    The model has the batch size 1, the resolution of `sample`, no auxiliary heads, and BN folded into its convolutions;
    the weights are those of the module, auxiliary heads included.

    Args:
        arch: of the module.
        module: on the CPU, with its weights; comes back in evaluation mode.
        sample: normalised images to compare ONNX Runtime with torch on; N x 3 x H x H.
        metadata: goes into the model, beside the architecture.
        folder: made if it does not exist.
        convention: names of the weights; see `nas.weights.save_weights`.

    Returns:
        The largest difference between ONNX Runtime and torch, relative to the largest logit.

    Raises:
        RuntimeError: they differ by more than `MAX_DIFFERENCE`; nothing is written.
        UserError: the convention has no names for this network.
    """
    module.eval()
    graph = lower(arch, sample.shape[-1], module.graph.ops[-1].shape[0])
    model = emit_onnx(graph, given_weights(folded_weights(module)), metadata={"arch": str(arch), **metadata})
    check_model(model)
    difference = _difference(model, module, sample)
    if not difference <= MAX_DIFFERENCE:
        raise RuntimeError(f"exported model differs from torch by {difference:.2g} of the largest logit")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ARCH, arch_to_json(arch))
    (folder / MODEL).write_bytes(model)
    save_weights(folder / WEIGHTS, module, convention)
    return difference


def _difference(model: bytes, module: GraphModule, sample: Tensor) -> float:
    """Between ONNX Runtime and torch, relative to the largest logit; NaN where a logit is."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = module(sample).numpy()
    found = np.concatenate([session.run(None, {"input": row[None].numpy()})[0] for row in sample.contiguous()])
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / largest if largest else math.nan
