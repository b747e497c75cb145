"""Batches that run out of memory: gradients, losses, draws, the one warning, and where it ends."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.errors import UserError
from nas.gradients import LossGradients
from nas.micro_batches import MicroBatches
from nas.training import ImageSet, Training, num_correct
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

WITHOUT_BN = "nonorm stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o16_d0"


def cuda_failure():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def cpu_failure():
    torch.empty(2**60)  # more than any address space has: the allocator's own exception


class Limited:
    """Gradients of `network` for at most `limit` images; more run out of memory, in the middle of the backward pass."""

    def __init__(self, network, limit, fail=cuda_failure):
        self.network, self.limit, self.fail, self.seen, self.drawn = network, limit, fail, [], []

    def __call__(self, images, labels, generator):
        self.seen.append(len(images))
        self.drawn.append(float(torch.rand((), generator=generator)))
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        if len(images) > self.limit:
            self.fail()
        return loss.detach()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(11, 3, 6, 6, generator=generator), torch.randint(0, 3, (11,), generator=generator)


def gradients_of(network):
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize(("limit", "parts"), [(10, [6, 5]), (5, [3, 3, 3, 2]), (1, [1] * 11)])
@pytest.mark.parametrize("fail", [cuda_failure, cpu_failure])
def test_gradients_are_those_of_the_whole_batch(network, batch, limit, parts, fail, caplog):
    whole = F.cross_entropy(network(batch[0]), batch[1])
    whole.backward()
    expected = gradients_of(network)  # and these are in the way of what comes now
    limited = Limited(network, limit, fail)
    generator = torch.Generator().manual_seed(5)
    micro_batches = MicroBatches(network.parameters(), limited)
    loss = micro_batches(*batch, generator)
    assert limited.seen[-len(parts) :] == parts
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    for found, wanted in zip(gradients_of(network), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-7)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"a training step of 11 images; going on with the same batches in micro-batches of {parts[0]}" in (
        record.getMessage()
    )

    # what is drawn is what the whole batch would have drawn; and the next batch begins where memory has led to
    assert set(limited.drawn) == {float(torch.rand((), generator=torch.Generator().manual_seed(5)))}
    limited.seen.clear()
    micro_batches(*batch, generator)
    assert max(limited.seen) == parts[0]
    assert sum(limited.seen) == 11
    assert len(caplog.records) == 1


def test_a_batch_that_fits_is_left_whole(network, batch, caplog):
    limited = Limited(network, 11)
    loss = MicroBatches(network.parameters(), limited)(*batch, torch.Generator())
    assert limited.seen == [11]
    assert torch.equal(loss, F.cross_entropy(network(batch[0]), batch[1]))
    assert not caplog.records


def test_one_image_that_is_too_much(network, batch):
    with pytest.raises(UserError, match="out of memory with one image at a time; lower the resolution"):
        MicroBatches(network.parameters(), Limited(network, 0))(*batch, torch.Generator())


def test_other_errors_are_not_taken_for_it(network, batch):
    def fail():
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        MicroBatches(network.parameters(), Limited(network, 5, fail))(*batch, torch.Generator())


def test_bn_that_is_left_with_one_value(batch):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())
    with pytest.raises(UserError, match="BN has nothing to normalise one image by") as caught:
        MicroBatches(network.parameters(), Limited(network, 1))(*batch, torch.Generator())
    assert "\n" not in str(caught.value)


def short_of_memory(module, limit, shown):
    """From here on `module` fails on more than `limit` images; the sizes that it is shown go to `shown`."""

    def check(_, arguments):
        shown.append(len(arguments[0]))
        if len(arguments[0]) > limit:
            cpu_failure()

    module.register_forward_pre_hook(check)


def test_a_training_goes_on_and_is_the_same():
    """Two epochs of a network without BN, and its evaluation."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8, generator=generator)
    data = ImageSet(pixels, torch.randint(0, 4, (16,), generator=generator), (0.5,) * 3, (0.3,) * 3)
    recipe = TrainingRecipe(epochs=2, batch_size=8, learning_rate=0.01, max_shift=1, flip=True)
    ended = {}
    for limit in (16, 3):
        module = build_module(lower(parse_arch(WITHOUT_BN), 16, 4, training=True), 0)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        shown = []
        short_of_memory(module.get_submodule("stem.conv"), limit, shown)
        training = Training(module, data, recipe, 3, LossGradients(module))
        losses = [training.next_epoch().loss for _ in range(2)]
        correct = num_correct(module, data)
        ended[limit] = losses, correct, module.state_dict()
        assert max(size for size in shown if size <= limit) == (16 if limit == 16 else 2)
    (losses, correct, state), (others, also, other_state) = ended.values()
    assert losses == pytest.approx(others, rel=1e-5)
    assert correct == also
    assert all(torch.allclose(state[name], other_state[name], rtol=1e-4, atol=1e-6) for name in state)
