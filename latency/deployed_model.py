"""What is measured: an architecture as the model file that a deployment runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency.deployment import Deployment
from search_spaces.arch import ArchSpec
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx


def deployed_model(
    arch: ArchSpec, deployment: Deployment, num_classes: int, images: Sequence[np.ndarray] | None = None
) -> bytes:
    """ONNX bytes of `arch` with seeded random weights, on which its time does not depend.

    Args:
        arch: the network.
        deployment: resolution, batch and type of arithmetic.
        num_classes: outputs of the classifier.
        images: calibrate int8, float32 of shape (batch, 3, resolution, resolution); seeded noise by default.
    """
    model = emit_onnx(lower(arch, deployment.resolution, num_classes), batch=deployment.batch)
    if deployment.dtype == "float32":
        return model
    from latency.int8 import quantize, seeded_images  # onnxruntime.quantization takes a second to import

    return quantize(model, images if images is not None else seeded_images(deployment))
