import numpy as np
import pytest

from latency.deployed_model import deployed_model
from latency.deployment import Deployment
from nas.calibration_images import NUM_IMAGES, calibration_images
from nas.config import parse_config
from nas.images import load_images
from search_spaces.arch_string import parse_arch


@pytest.fixture(scope="module")
def images():
    found = load_images(parse_config("data: {num_train: 100, num_test: 50}", "r.yaml"))
    assert found is not None
    return found


@pytest.mark.parametrize(("batch", "num_batches"), [(1, 8), (3, 3), (8, 1), (150, 1)])
def test_as_the_deployment_takes_them(images, batch, num_batches):
    found = calibration_images(images, Deployment(resolution=24, batch=batch, dtype="int8"))
    assert [x.shape for x in found] == [(batch, 3, 24, 24)] * num_batches
    assert {x.dtype for x in found} == {np.dtype(np.float32)}
    assert batch * num_batches >= NUM_IMAGES


def test_normalised_training_images(images):
    """At the data's own resolution they are training images, as training sees them; all of them, in this batch."""
    side = images.dataset.x_train.shape[1]
    (found,) = calibration_images(images, Deployment(resolution=side, batch=len(images.dataset.x_train), dtype="int8"))
    assert found.mean(axis=(0, 2, 3)) == pytest.approx([0, 0, 0], abs=1e-3)
    assert found.std(axis=(0, 2, 3)) == pytest.approx([1, 1, 1], abs=1e-2)
    assert not np.array_equal(found[0], found[1])


def test_they_are_what_int8_is_made_with(images):
    deployment = Deployment(resolution=24, dtype="int8")
    arch = parse_arch("stem_k3_s22_o8 r1_k3_s11_e1_i8_o8 head_o16")
    of_images = deployed_model(arch, deployment, 10, calibration_images(images, deployment))
    assert of_images == deployed_model(arch, deployment, 10, calibration_images(images, deployment))
    assert of_images != deployed_model(arch, deployment, 10)
