"""Which candidates a supernet trains in one step."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from nas.path_sampling import SAMPLERS, fair_paths, uniform_path
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
