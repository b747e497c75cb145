"""Shares of batches: several processes that train together end as one that trains alone, without Ray."""

import socket

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist
from torch import multiprocessing

from nas.errors import UserError
from nas.image_set import ImageSet
from nas.share import ALONE, Share, check_shares
from nas.training import Training, own_randomness
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

BLOCKS = "stem_k3_s22_o8 r1_k3_s22_e2_i8_o16_se0.25 head_o16_d0"
RECIPE = TrainingRecipe(
    epochs=2,
    batch_size=9,
    learning_rate=0.05,
    max_shift=2,
    flip=True,
    ema_decay=0.9,
    clip_norm=1.0,
    label_smoothing=0.1,
)


@given(count=st.integers(0, 300), num_workers=st.integers(1, 20))
def test_shares_are_contiguous_and_differ_by_one_at_most(count, num_workers):
    shares = [Share(rank, num_workers) for rank in range(num_workers)]
    assert [number for share in shares for number in range(count)[share.part(count)]] == list(range(count))
    sizes = [share.size(count) for share in shares]
    assert sizes == [len(range(count)[share.part(count)]) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rank", "num_workers"), [(2, 2), (-1, 2), (0, 0)])
def test_no_such_worker(rank, num_workers):
    with pytest.raises(ValueError, match=f"rank {rank} of {num_workers} workers"):
        Share(rank, num_workers)


def test_batches_too_small_to_share():
    check_shares(1, 64, 1)
    check_shares(32, 64, 1000)
    check_shares(2, 64, 4)
    for num_workers, batch_size, num_images, count, most in [
        (33, 64, 1000, 64, 32),
        (2, 64, 3, 3, 1),
        (9, 16, 60, 16, 8),
    ]:
        with pytest.raises(UserError) as error:
            check_shares(num_workers, batch_size, num_images)
        assert str(error.value) == (
            f"--workers {num_workers}: a batch of {count} images has 2 for each of at most {most} workers; "
            "take fewer workers, or a larger --batch-size"
        )


def noise(count):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 4, (count,), generator=generator)
    return ImageSet(images.to(memory_format=torch.channels_last), labels, (0.5,) * 3, (0.3,) * 3)


def trained(norm, share=ALONE):
    """Everything that a training has become after two epochs, and its losses."""
    module = build_module(lower(parse_arch(f"{norm} {BLOCKS}"), 16, 4), seed=0)
    training = Training(module, noise(40), RECIPE, seed=3, share=share)
    losses = []
    with own_randomness(share.rank):
        while training.num_epochs < RECIPE.epochs:
            losses.append(training.next_epoch().loss)
    return {name: tensor.clone() for name, tensor in training.tensors().items()}, losses, training.num_samples


def work(rank, num_workers, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=num_workers)
    share = Share(rank, num_workers)
    uneven = torch.full((3,), float(rank))
    share.average([uneven], 5)  # 2 images for the first worker, 3 for the second
    found = {norm: trained(norm, share) for norm in ("nonorm", "norm_e0.001")}
    torch.save((found, uneven, share.total(10 + rank, torch.device("cpu"))), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two workers has in the end."""
    folder = tmp_path_factory.mktemp("workers")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, (2, port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_means_are_those_of_all_images(both):
    assert [total for _, _, total in both] == [21, 21]
    for _, uneven, _ in both:
        assert uneven.tolist() == pytest.approx([0.6] * 3)


@pytest.mark.parametrize("norm", ["nonorm", "norm_e0.001"])
def test_all_workers_end_with_the_same(both, norm):
    (one, *rest), (other, *others) = (found[norm] for found, _, _ in both)
    assert rest == others
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_workers_without_bn_train_as_one(both):
    """Batches of 9: 4 and 5 images, drawn and augmented as those of a single process."""
    shared, losses, num_samples = both[0][0]["nonorm"]
    alone, losses_alone, num_samples_alone = trained("nonorm")
    assert num_samples == num_samples_alone == 72
    assert losses == pytest.approx(losses_alone, abs=1e-5)
    assert losses[0] != pytest.approx(losses[1], abs=1e-4)
    assert shared.keys() == alone.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=0, atol=1e-5)
    untrained = build_module(lower(parse_arch(f"nonorm {BLOCKS}"), 16, 4), seed=0).state_dict()
    moved = [(alone[f"module.{name}"] - tensor).abs().max() for name, tensor in untrained.items()]
    assert max(moved) > 1e-3


def test_running_statistics_are_those_of_all_images(both):
    """The means of BN's inputs in the first layer of a batch are those of its parts, averaged."""
    shared, _, _ = both[0][0]["norm_e0.001"]
    alone, _, _ = trained("norm_e0.001")
    mean, expected = (found["module.stem.norm.running_mean"] for found in (shared, alone))
    assert (mean - expected).abs().max() < 0.05 * expected.abs().max()
