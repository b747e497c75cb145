"""An exported network as an int8 one, and what models make of images: through ONNX Runtime, as their users run them."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from latency.deployment import CPU_PROVIDER
from latency.int8 import quantize
from nas.image_set import ImageSet

NUM_CALIBRATION = 64
"""Training images that show what values tensors take."""

_BATCH = 256  # images normalised at a time


def quantised(model: bytes, training: ImageSet) -> bytes:
    """`model` in int8, calibrated with `NUM_CALIBRATION` images at equal distances from `training`; raises as `quantize`."""
    chosen = torch.arange(min(NUM_CALIBRATION, len(training))) * len(training) // NUM_CALIBRATION
    images = training.normalised(training.images[chosen % len(training)]).contiguous().numpy()
    return quantize(model, [image[np.newaxis] for image in images])


def predicted_classes(model: bytes, images: ImageSet) -> NDArray[np.int64]:
    """The class of the largest logit for each image, one image an inference, on one thread; shape (images,)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=[CPU_PROVIDER])
    [given] = [tensor.name for tensor in session.get_inputs()]
    found = []
    for batch, _ in images.batches(torch.arange(len(images)), _BATCH):
        pixels = images.normalised(batch).contiguous().numpy()
        found += [int(session.run(None, {given: image[np.newaxis]})[0][0].argmax()) for image in pixels]
    return np.array(found, np.int64)


def num_right(model: bytes, test: ImageSet) -> int:
    """Images of `test` that `model` classifies right."""
    return int((predicted_classes(model, test) == test.labels.numpy()).sum())
