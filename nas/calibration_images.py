"""Images that show an int8 quantisation what values its tensors take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latency.deployment import Deployment
from nas.data_tensors import resize_images
from nas.images import Images

NUM_IMAGES = 8


def calibration_images(images: Images, deployment: Deployment) -> list[NDArray[np.float32]]:
    """Training images as `deployment` takes them, normalised as in training, in batches.

    Taken at equal distances from the training split, `NUM_IMAGES` of them or a whole batch where that is more; of smaller
    data sets some come again.

    Returns:
        Arrays of shape (batch, 3, resolution, resolution), float32.
    """
    x = images.dataset.x_train
    num_batches = -(-NUM_IMAGES // deployment.batch)
    num = num_batches * deployment.batch
    chosen = x[np.arange(num) * len(x) // num]
    normalised = images.training.normalised(resize_images(chosen, deployment.resolution)).contiguous().numpy()
    return list(normalised.reshape(num_batches, deployment.batch, *normalised.shape[1:]))
