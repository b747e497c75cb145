from dataclasses import replace

import pytest

from nas.netadapt.cost import mac_cost
from nas.netadapt.proposal import offer
from nas.netadapt.selection import Candidate, by_accuracy, by_slope
from nas.netadapt.step_record import CandidateRecord, StepRecord
from nas.netadapt.words import cost_text, explanation, group_words, ranked, saving_text, signed, width_words
from search_spaces.edits import one_layer_blocks
from search_spaces.zoo import get

A1 = one_layer_blocks(get("mnasnet_a1"))


def candidate(group, kind, widths, change, saving, **changes):
    before, after = widths
    fields = {"accuracy": 0.78 + change, "useful_saving": saving, "half_width": 0.001, "eliminated": False, **changes}
    return CandidateRecord(group, kind, before, after, saving, accuracy_change=change, **fields)


SEVEN = candidate("b8.l1.expand", "expansion", (480, 384), -0.00001, 0.05)
TWO = candidate("b3.l1.expand", "expansion", (144, 120), -0.000025, 0.05)
SHARED = candidate("b4.l1.project", "bottleneck", (40, 32), -0.0004, 0.08)


def step(*candidates, **changes):
    fields = {
        "step": 1,
        "parent": str(A1),
        "arch": str(A1),
        "asked": 0.05,
        "reduction": 0.05,
        "predicted": 9.95,
        "cost": 9.95,
        "latency": None,
        "change": None,
        "predicted_ratio": 0.995,
        "control": 0.78,
        "candidates": candidates,
        "accepted": candidates[0].group,
        "tied": (),
        "accuracy": 0.78,
        "num_images": 1000,
        "seconds": 10.0,
    }
    return StepRecord(**fields | changes)


def test_a_loss_and_the_next_best():
    assert explanation(step(SEVEN, TWO, SHARED), "ms") == (
        "block 8 expansion 480 -> 384: -0.02 points per ms; next best block 3 expansion 144 -> 120: -0.05"
    )


def test_blocks_that_share_a_bottleneck():
    assert explanation(step(SHARED, TWO, SEVEN, accepted=SHARED.group), "ms") == (
        "blocks 4-6 bottleneck 40 -> 32: -0.5 points per ms; next best block 8 expansion 480 -> 384: -0.02"
    )


@pytest.mark.parametrize(
    ("unit", "saving", "text"),
    [
        ("MACs", 3e6, "-0.33 points per million MACs"),
        ("params", 5e5, "-2.00 points per million parameters"),
        ("x budget", 0.02, "-0.5 points per 1 % of the budget"),
    ],
)
def test_slopes_in_other_units(unit, saving, text):
    only = candidate("head.conv", "head", (1280, 1000), -0.01, saving)
    assert (
        explanation(step(only, asked=saving, reduction=saving), unit)
        == f"head 1280 -> 1000: {text}; there was no other"
    )


def test_gains_are_said_as_such():
    gain, less = replace(SEVEN, accuracy_change=0.0012), replace(TWO, accuracy_change=0.0, saving=0.04)
    assert explanation(step(gain, less, SHARED), "ms") == (
        "block 8 expansion 480 -> 384: loses nothing (+0.12 points) and saves 0.05 ms; "
        "next best block 3 expansion 144 -> 120: loses nothing (+0.00 points) and saves 0.04 ms"
    )
    assert explanation(step(gain, TWO), "ms").endswith("next best block 3 expansion 144 -> 120: -0.05 points per ms")


def test_ties_and_a_lowered_saving():
    tied = step(SEVEN, TWO, SHARED, tied=(TWO.group,), reduction=0.025)
    assert explanation(tied, "ms") == (
        "block 8 expansion 480 -> 384: -0.02 points per ms; next best blocks 4-6 bottleneck 40 -> 32: -0.5; "
        "not told apart from block 3 expansion; no width saves 0.05 ms; 0.025 ms asked for"
    )


def test_those_that_fell_out_come_after_those_that_did_not():
    early = replace(TWO, eliminated=True)
    assert "next best blocks 4-6 bottleneck" in explanation(step(SEVEN, SHARED, early), "ms")
    assert explanation(step(SEVEN, early), "ms").endswith("block 3 expansion 144 -> 120: -0.05, fell out before")


def test_the_other_rules():
    assert explanation(step(SEVEN, TWO), "ms", "accuracy") == (
        "block 8 expansion 480 -> 384: scores 78.00 %; next best block 3 expansion 144 -> 120: scores 78.00 %"
    )
    assert explanation(step(SEVEN, TWO), "ms", "random") == (
        "block 8 expansion 480 -> 384: -0.02 points per ms, drawn at random"
    )


@pytest.mark.parametrize(("rule", "select"), [("slope", by_slope), ("accuracy", by_accuracy)])
@pytest.mark.parametrize("shift", [-0.01, 0.0, 0.001, 0.01])
def test_the_best_ranked_is_the_one_that_the_rule_accepts(rule, select, shift):
    proposals = offer(A1, mac_cost(64, 10).cost, 2e5).proposals
    losses = {proposal.group: shift - 0.0007 * (7 * place % 11) for place, proposal in enumerate(proposals)}
    records = [candidate(p.group, p.kind, (p.before, p.after), losses[p.group], p.saving) for p in proposals]
    chosen = select([Candidate(p, 0.78 + losses[p.group], losses[p.group]) for p in proposals])
    assert ranked(reversed(records), rule)[0].group == chosen.candidate.proposal.group


def test_widths_of_networks_in_words():
    words = width_words(A1)
    assert words["stem"] == "stem"
    assert words["head.conv"] == "head"
    assert words["b7.l1.project"] == "blocks 7-10 bottleneck"
    assert "b4.l1.se.reduce" not in words  # follows by a rule
    assert len(set(words.values())) == len(words)
    assert width_words(one_layer_blocks(get("mobilenet_v1")))["b1.l1.pointwise"] == "block 1 bottleneck"
    assert width_words(one_layer_blocks(get("mobilenet_v3_large")))["head.hidden"] == "hidden layer of the head"
    assert width_words(one_layer_blocks(get("googlenet")))["b7.l1.branch2.1"] == "block 7 branch 2.1"


def test_blocks_with_others_between():
    members = ("b2.l1.project", "b4.l1.project", "b5.l1.project", "b6.l1.depthwise")
    assert group_words("b2.l1.project", "bottleneck", members) == "blocks 2, 4-5 bottleneck"
    assert group_words("b7.l1.expand", "expansion") == "block 7 expansion"


def test_amounts():
    assert saving_text(3.1234e6, "MACs") == "3.12 M MACs"
    assert saving_text(0.0123, "x budget") == "1.23 % of the budget"
    assert cost_text(9.5, "ms") == "9.500 ms"
    assert cost_text(1.25, "x budget") == "1.250 x budget"
    assert cost_text(2.5e8, "MACs") == "250.00 M MACs"


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.02, "-0.02"), (0.123, "+0.12"), (-12.345, "-12.35"), (0.0, "+0.00"), (1e-6, "+0.00"), (0.00123, "+0.0012")],
)
def test_signed(value, text):
    assert signed(value) == text
