"""What the checks that need no device find: the verdict of each claim, and the numbers it must rest on."""

from __future__ import annotations

import numpy as np
import pytest

from nas.claims.claim import Check, Verdict
from nas.claims.examination import Options, Result, examine
from nas.claims.lab import Lab
from nas.claims.mobilenet_v2 import relu_damage, spiral
from nas.claims.registry import registry
from search_spaces import zoo
from search_spaces.arch import ArchSpec

HOLDS: Verdict = "holds"
DIRECTION: Verdict = "holds in direction"
WRONG: Verdict = "the notes are wrong"

FOUND: dict[int, tuple[Verdict, list[str]]] = {
    1: (HOLDS, ["equals", "200 random shapes", "7.9 times", "8.8 at 512"]),
    2: (WRONG, ["8.56 x fewer MACs", "6.92 x fewer parameters"]),
    4: (HOLDS, ["conv1x1 94.86 and 74.59", "dw3x3 3.06 and 1.06", "fc 0.18 and 24.33", "conv3x3 1.91 and 0.02"]),
    5: (HOLDS, ["568.7, 325.4, 149.5, 41.0 M MACs"]),
    6: (HOLDS, ["568.7, 418.1, 290.7, 186.4 M", "exactly by rho^2"]),
    7: (HOLDS, ["462.4, 52.3, 29.6, 15.1 M", "2.36, 0.27, 0.15, 0.15 M"]),
    8: (WRONG, ["alpha 0.25 50.6 %", "64.4 at alpha 1", "62.1 at alpha 0.75", "56.3 at alpha 0.5"]),
    9: (HOLDS, ["28 layers", "27 of 27"]),
    10: (HOLDS, ["17 of 17", "10 have a shortcut"]),
    11: (HOLDS, ["300.8 M against 568.7 M", "3.50 M against 4.23 M", "72.0 against 70.6"]),
    12: (WRONG, ["60.3 %", "17.2 %"]),
    13: (HOLDS, ["2: ", "30: "]),
    15: (DIRECTION, ["151 KB (V2), 803 KB (V1)", "401 KB (V2), 1606 KB (V1)"]),
    17: (DIRECTION, ["1.51 M or 27.6 %", "0.70 %", "adds 1.25 M"]),
    18: (HOLDS, ["17 of 17"]),  # 8 of Large, 9 of Small
    19: (HOLDS, ["15 of 15", "96 to 64, 144 to 72, 480 to 200, 480 to 184, 480 to 184"]),
    20: (HOLDS, ["11.0 %", "0.04 %"]),
    21: (HOLDS, ["15 proposals narrow an expansion, 7 a bottleneck", "1.00 % to 4.1 %"]),
    22: (WRONG, ["100 would leave nothing", "29 suffice"]),
    23: (HOLDS, ["-34.3 M MACs", "13.7 %", "0.50 M more parameters"]),
    24: (HOLDS, ["-10.44 M MACs", "4.6 %", "-896 parameters"]),
    25: (HOLDS, ["0, 0, -0.375, 0, 3, 4", "0.1423", "0.0692"]),
    28: (HOLDS, ["39.5 % of them in Large", "62.9 % in Small", "100 % in Large @16"]),
    30: (HOLDS, ["5,483,032 and 2,542,856", "216.6 M and 56.5 M"]),
    32: (HOLDS, ["-0.07039", "is continuous", "one flat"]),
    34: (HOLDS, ["1.50e13", "3.41e39"]),
    36: (HOLDS, ["4 steps to 90.0 %", "22 and 22 and 22 and 21 proposals"]),
    39: (HOLDS, ["half after 17", "62.5 %"]),
    40: (HOLDS, ["NumPy"]),
    41: (HOLDS, ["24.7 %"]),
    42: (HOLDS, ["2,530,992 parameters (9.9 %)", "0.07 % MACs"]),
    44: (HOLDS, ["2 in training, after 4a and 4d", "0 at inference", "loss is main"]),
    45: (WRONG, ["0.65 points"]),
    46: (HOLDS, ["128.0 M", "303.5 M", "2.37 x"]),
    47: (HOLDS, ["8 of 9 rows", "7.00 M", "1.583 G"]),
    49: (HOLDS, ["10 vectors"]),
    50: (DIRECTION, ["9 and 0", "11.3 M against 7.0 M", "2.03 against 1.58 G"]),
    51: (HOLDS, ["28.0 % of the weights"]),
    52: (HOLDS, ["33.3 %", "71.4 %", "11.1 %"]),
    53: (HOLDS, ["8 : 2 : 1", "50 %"]),
    54: (WRONG, ["7.8 and 4.0"]),
    55: (HOLDS, ["23,834,568", "27,161,264", "5.713 G"]),
}  # fmt: skip
"""Verdict, and parts of what is found; the figures are those of independent counts."""

ANALYSED = [
    check for checks in registry().checks.values() for check in checks if check.kind in ("analysis", "simulation")
]


@pytest.fixture(scope="module")
def results() -> dict[int, Result]:
    found = examine(registry(), [], Lab(), Options(latency=False))
    return {result.claim.number: result for result in found}


@pytest.mark.parametrize("number", FOUND)
def test_verdict_and_numbers(results: dict[int, Result], number: int) -> None:
    verdict, parts = FOUND[number]
    assert results[number].verdict == verdict
    for part in parts:
        assert part in results[number].found


def test_every_other_claim_is_not_checked_and_says_what_it_takes(results: dict[int, Result]) -> None:
    others = {number: result for number, result in results.items() if number not in FOUND}
    assert {result.verdict for result in others.values()} == {"not checked"}
    assert all(result.found for result in others.values())


def test_whatever_does_not_simply_hold_is_explained(results: dict[int, Result]) -> None:
    assert all(result.why for result in results.values() if result.verdict not in (HOLDS, "not checked"))


class MixedUpLab(Lab):
    """Gives another network than the one that was asked for."""

    def arch(self, subject: str | ArchSpec) -> ArchSpec:
        if not isinstance(subject, str):
            return subject
        other = "mobilenet_v3_small" if "mobilenet_v1" in subject or "mobilenet_v2" in subject else "mobilenet_v1"
        return zoo.get(other)


def _looks_at_networks(check: Check) -> bool:
    class Witness(Lab):
        asked = False

        def arch(self, subject: str | ArchSpec) -> ArchSpec:
            Witness.asked |= isinstance(subject, str)
            return super().arch(subject)

    check.run(Witness())
    return Witness.asked


NETWORK_CHECKS = [2, 4, 5, 6, 9, 10, 11, 12, 17, 18, 19, 21, 23, 24, 28, 30, 42, 50, 55]
READ_WHAT_OTHERS_LACK = [15, 44, 46, 47]  # maps of 112 px, GoogLeNet's modules


@pytest.mark.parametrize("number", NETWORK_CHECKS)
def test_checks_of_networks_find_other_networks_out(number: int) -> None:
    assert registry().checks[number][0].run(MixedUpLab()).verdict == "fails here"


@pytest.mark.parametrize("number", READ_WHAT_OTHERS_LACK)
def test_or_cannot_read_them(number: int) -> None:
    with pytest.raises((KeyError, ValueError)):
        registry().checks[number][0].run(MixedUpLab())


def test_those_are_all_that_look_at_networks() -> None:
    looking = [check.number for check in ANALYSED if _looks_at_networks(check)]
    assert looking == sorted(NETWORK_CHECKS + READ_WHAT_OTHERS_LACK)


def test_relu_keeps_what_many_dimensions_hold() -> None:
    rng, points = np.random.default_rng(1), spiral(2000)
    lost = [np.mean([relu_damage(points, rng.standard_normal((n, 2)))[1] for _ in range(400)]) for n in (2, 3, 5)]
    # a unit is left with probability 1/2, independently: fewer than two of n are with (1 + n) / 2^n
    assert lost == pytest.approx([3 / 4, 4 / 8, 6 / 32], abs=0.03)  # standard error below 0.01


def test_relu_loses_nothing_of_a_plane_that_is_held_twice() -> None:
    both_signs = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    error, lost = relu_damage(spiral(), both_signs)
    assert error == pytest.approx(0, abs=1e-12)
    assert lost == pytest.approx(0, abs=2e-3)  # but for the middle of the spiral
