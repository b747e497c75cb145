"""What stands between blocks: what pools, local normalisation and branches refuse, and the widths they give."""

from __future__ import annotations

import re

import pytest

from search_spaces.arch import ArchSpec, SqueezeExcite, Stem
from search_spaces.module import BranchConv, Branches, Fork, LocalNorm, Pool, width_of

ONE, THREE = BranchConv((1, 1), 8), BranchConv((3, 3), 16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pool("min", 3, 2), "pool 'min': allowed are max, average"),
        (lambda: Pool("max", 1, 1), "pool kernel 1: must be at least 2"),
        (lambda: Pool("max", 3.0, 1), "pool kernel 3.0: must be at least 2"),
        (lambda: Pool("max", True, 1), "pool kernel True"),
        (lambda: Pool("max", 3, 3), "pool stride 3: must be 1 or 2"),
        (lambda: Pool("max", 3, 2, "full"), "pool padding 'full': allowed are same, valid, ceil"),
        (lambda: Pool("max", 2, 2), "pool kernel 2: even ones are valid or ceil"),
        (lambda: Pool("max", 3, 2, counts_padding=True), "counts_padding is for average pooling with padding same"),
        (lambda: Pool("average", 3, 2, "ceil", True), "counts_padding is for average pooling with padding same"),
        (lambda: LocalNorm(4), "local normalisation kernel 4: must be odd and positive"),
        (lambda: LocalNorm(0), "local normalisation kernel 0"),
        (lambda: BranchConv((3,), 8), "kernel (3,): must be (height, width)"),
        (lambda: BranchConv((3, 2), 8), "branch kernel 2: must be odd and positive"),
        (lambda: BranchConv((3, 3), 0), "branch channels 0: must be an integer, at least 1"),
        (lambda: BranchConv((3, 3), 8, 3), "branch stride 3"),
        (lambda: BranchConv((3, 3), 8, 1, "ceil"), "branch padding 'ceil': allowed are same, valid"),
        (lambda: Branches(0, ((ONE,), (THREE,))), "in_channels 0"),
        (lambda: Branches(8, ((ONE,),)), "a module needs at least two branches"),
        (lambda: Branches(8, ((ONE,), ())), "a branch needs at least one step"),
        (lambda: Branches(8, ((ONE,), (Fork(((ONE,), (ONE,))), THREE))), "a fork ends its branch"),
        (lambda: Branches(8, ((ONE,), (THREE,)), activation="none"), "activation 'none'"),
        (lambda: Fork(((ONE,),)), "a module needs at least two branches"),
        (
            lambda: ArchSpec((Pool("max", 3, 2), Branches(8, ((ONE,), (THREE,)))), Stem(16)),
            "block 2 takes i8, but receives 16 channels",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_lists_become_tuples_so_that_equal_modules_are_equal():
    module = Branches(8, [[ONE], [THREE, Fork([[ONE], [THREE]])]])
    assert module == Branches(8, ((ONE,), (THREE, Fork(((ONE,), (THREE,))))))
    assert hash(module) == hash(Branches(8, ((ONE,), (THREE, Fork(((ONE,), (THREE,)))))))
    assert BranchConv([1, 7], 8) == BranchConv((1, 7), 8)


def test_widths():
    pool = Pool("max", 3, 1)
    assert [block.receive(24) for block in (pool, LocalNorm())] == [24, 24]
    assert width_of(((ONE,), (THREE,)), 24) == 8 + 16
    assert width_of(((pool,), (ONE, pool), (THREE, Fork(((ONE,), (pool,))))), 24) == 24 + 8 + (8 + 16)
    module = Branches(24, ((pool,), (ONE, THREE)))
    assert (module.receive(24), module.out_channels) == (40, 40)


def test_squeezed_width_of_a_module_by_each_rule():
    for rule, width in (
        ("input", 6),
        ("gated", 10),
        ("expansion", 16),
    ):  # a quarter of 24 in, of 40 out, to multiples of 8
        module = Branches(24, ((Pool("max", 3, 1),), (THREE,)), SqueezeExcite(0.25, rule))
        assert module.squeezed_channels == width
    assert Branches(24, ((ONE,), (THREE,))).squeezed_channels == 0
