"""Which candidates a supernet trains in one step."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from nas.path_sampling import SAMPLERS, DepartingPaths, RepeatableSampler, fair_paths, uniform_path
from search_spaces import zoo
from search_spaces.mnasnet import MNASNET


def test_fair_paths_take_every_option_equally_often():
    paths = fair_paths(MNASNET, torch.Generator().manual_seed(0))

    assert len(paths) == 4  # operations, and filters of two blocks
    for choice in MNASNET.choices:
        times = Counter(path[choice.name] for path in paths)
        least, rest = divmod(4, len(choice.options))
        assert set(times) == set(choice.options)
        assert sorted(times.values()) == [least] * (len(choice.options) - rest) + [least + 1] * rest


def test_over_many_steps_the_options_of_all_decisions_come_equally_often():
    generator = torch.Generator().manual_seed(0)

    times = Counter(path["b1.skip"] for _ in range(300) for path in fair_paths(MNASNET, generator))

    assert all(abs(count - 400) < 60 for count in times.values())  # 3 options in 4 paths: one comes once more


@pytest.mark.parametrize("name", SAMPLERS)
def test_paths_are_candidates_and_a_function_of_the_generator(name):
    one, same = (SAMPLERS[name](MNASNET, torch.Generator().manual_seed(5)) for _ in range(2))

    assert one == same
    for path in one:
        MNASNET.check(path)


def test_one_uniform_path_a_step():
    assert len(uniform_path(MNASNET, torch.Generator())) == 1


ANCHOR = MNASNET.encode(zoo.get("mnasnet_a1"))


def departed(path):
    return {name.partition(".")[0] for name in path if path[name] != ANCHOR[name]}


def test_candidates_depart_from_the_anchor_block_by_block():
    sampler, generator = DepartingPaths(ANCHOR, 1000), torch.Generator().manual_seed(0)
    steps = [sampler(MNASNET, generator) for _ in range(1000)]

    assert all(paths[0] == ANCHOR for paths in steps)
    assert all(len(paths) == 1 for paths in steps[:40])  # the anchor alone
    numbers = [len(departed(paths[1])) for paths in steps[40:]]
    assert max(numbers[:160]) == 1  # one block, up to 0.2 of the steps
    assert 2 <= max(numbers[300:400]) <= 4
    assert max(numbers[800:]) == 7
    assert min(numbers[800:]) <= 1  # or fewer, to the end
    for paths in steps[40:]:
        MNASNET.check(paths[1])


def test_a_repeated_step_is_the_same_and_a_resumed_sampler_goes_on():
    sampler, generator = RepeatableSampler(DepartingPaths(ANCHOR, 100)), torch.Generator().manual_seed(0)
    for _ in range(60):
        sampler(MNASNET, generator)
    before = generator.get_state()
    first = sampler(MNASNET, generator)

    generator.set_state(before)
    again = sampler(MNASNET, generator)
    resumed = DepartingPaths(ANCHOR, 100)
    resumed.resume(60)
    other = torch.Generator()
    other.set_state(before)

    assert again == first
    assert resumed(MNASNET, other) == first
    assert resumed(MNASNET, other) == sampler(MNASNET, generator)
