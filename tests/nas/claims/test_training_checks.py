"""Checks by training: made-up accuracies get the right verdicts; the networks differ in what the claim is about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import nas.claims.digits_training as digits
import nas.claims.inception_training as inception
import nas.claims.mobilenet_training as mobilenet
from nas.claims.claim import Check, Finding
from nas.claims.inception_training import Course
from nas.claims.lab import Lab
from nas.claims.registry import registry
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.graph import Add, Conv, Graph, Scale

TINY = digits.small(parse_arch("stem_k3_s22_o16 r1_k3_s22_conv_i16_o32_noskip head_noconv_d0"))


def checks(number: int) -> list[Check]:
    return [check for check in registry().checks[number] if check.kind == "training"]


def examined(number: int, lab: Lab | None = None) -> Finding:
    [check] = checks(number)
    return check.run(lab or Lab())


FIRST: dict[int, Callable[[Graph], bool]] = {
    3: lambda graph: all(op.groups == 1 for op in graph.ops if isinstance(op, Conv)),
    14: lambda graph: all(op.activation == "none" for op in graph.ops if op.name.endswith("project")),
    17: lambda graph: any(isinstance(op, Scale) for op in graph.ops),
    26: lambda graph: all(op.activation != "swish" for op in graph.ops if isinstance(op, Conv)),
}
"""Claim -> what the network that should be better has, and the other has not."""


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float, float], None]:
    """Makes accuracies up: the first network is better by so much, give or take a spread that depends on the seed."""

    def made_up(number: int, gain: float, spread: float) -> None:
        def accuracy(graph: Graph, seed: int) -> float:
            return 90.0 + seed + (gain + spread * (-1) ** seed if FIRST[number](graph) else 0.0)

        monkeypatch.setattr(digits, "trained", lambda graph, seed, initialise: graph)
        monkeypatch.setattr(digits, "accuracy", accuracy)

    return made_up


@pytest.mark.parametrize(
    ("number", "gain", "spread", "verdict"),
    [
        (3, 1.0, 0.5, "holds"),
        (3, 5.0, 0.5, "holds in direction"),
        (3, 0.2, 2.0, "not separated"),
        (3, -1.0, 0.5, "fails here"),
        (14, 1.0, 0.5, "holds"),
        (14, 0.2, 2.0, "not separated"),
        (14, -1.0, 0.5, "fails here"),
        (17, 1.0, 0.5, "holds"),
        (17, 0.2, 2.0, "not separated"),
        (17, -1.0, 0.5, "fails here"),
        (26, 0.2, 0.5, "holds"),
        (26, 0.2, 3.0, "not separated"),
        (26, -2.0, 0.5, "fails here"),
    ],
)
def test_verdicts(
    number: int, gain: float, spread: float, verdict: str, scores: Callable[[int, float, float], None]
) -> None:
    scores(number, gain, spread)
    found = examined(number)
    assert found.verdict == verdict
    assert bool(found.why) == (verdict != "holds")
    assert f"{gain:+.2f} (" in found.found
    assert f"{digits.NUM_SEEDS} pairs" in found.found


def test_progress_is_told(scores: Callable[[int, float, float], None]) -> None:
    scores(17, 1.0, 0.5)
    told: list[str] = []
    examined(17, Lab(say=told.append))
    assert told[0] == f"training SE against none, pair 1 of {digits.NUM_SEEDS}"
    assert len(told) == digits.NUM_SEEDS


def test_nonlinear_projections_change_nothing_else() -> None:
    linear = digits.small(mobilenet._INVERTED)
    nonlinear = mobilenet.with_nonlinear_projections(linear)
    differing = [a.name for a, b in zip(linear.ops, nonlinear.ops, strict=True) if a != b]
    assert differing == [op.name for op in linear.ops if op.name.endswith("project")]
    assert any(isinstance(op, Add) for op in linear.ops)
    assert count(linear) == count(nonlinear)


@pytest.mark.parametrize("variant", [lambda graph: graph, mobilenet.with_nonlinear_projections])
def test_both_kinds_of_bottlenecks_start_alike(variant: Callable[[Graph], Graph]) -> None:
    from search_spaces.torch_module import build_module

    module = build_module(variant(digits.small(mobilenet._INVERTED)), 0)
    mobilenet._gammas_of_one(module)
    gammas = [parameter for name, parameter in module.named_parameters() if name.endswith("norm.weight")]
    assert gammas
    assert all(bool((gamma == 1).all()) for gamma in gammas)


def test_claims_about_the_same_network_train_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.trained.cache_clear()
    made: list[tuple[Graph, int]] = []

    def train(module: object, data: object, recipe: object, seed: int) -> list[object]:
        made.append((module.graph, seed))  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr("nas.training.train", train)
    monkeypatch.setattr(digits, "accuracy", lambda module, seed: float(seed + len(made)))
    monkeypatch.setattr(mobilenet, "int8_loss", lambda module, seed: float(seed))
    for number in (17, 26, 27):
        examined(number)
    assert len(made) == len(set(made)) == 3 * digits.NUM_SEEDS  # with SE, without, soft
    digits.trained.cache_clear()


def test_images_of_a_seed() -> None:
    training, held_out = digits.images(3)
    again, _ = digits.images(3)
    other, _ = digits.images(4)
    assert torch.equal(training.images, again.images)
    assert not torch.equal(training.labels, other.labels)
    assert len(training) + len(held_out) == 1437
    seen = {image.numpy().tobytes() for image in training.images}
    assert not any(image.numpy().tobytes() in seen for image in held_out.images)
    assert set(training.labels.tolist()) == set(range(10))


def test_a_training_learns_and_is_a_function_of_network_and_seed() -> None:
    digits.trained.cache_clear()
    threads = torch.get_num_threads()
    module = digits.trained(TINY, 0, digits.as_built)
    assert digits.accuracy(module, 0) > 85
    assert digits.trained(TINY, 0, digits.as_built) is module  # remembered
    digits.trained.cache_clear()
    again = digits.trained(TINY, 0, digits.as_built)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
    assert torch.get_num_threads() == threads
    assert abs(mobilenet.int8_loss(module, 0)) < 5


@pytest.mark.parametrize(
    ("hard", "soft", "verdict"), [(0.2, 1.0, "holds"), (1.0, 1.0, "not separated"), (1.0, 0.2, "fails here")]
)
def test_accuracy_in_int8(hard: float, soft: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(graph: Graph, seed: int) -> float:
        is_soft = not FIRST[26](graph)
        return (soft if is_soft else hard) + 0.1 * float(np.sin(seed + is_soft))

    monkeypatch.setattr(mobilenet, "trained", lambda graph, seed, initialise: graph)
    monkeypatch.setattr(mobilenet, "int8_loss", loss)
    assert examined(27).verdict == verdict


def courses(limit: float, epochs: int) -> Callable[[float], Course]:
    """Learns at rates up to `limit`, in so many epochs, best at the highest; diverges above."""

    def at(rate: float) -> Course:
        if rate > limit:
            return Course((10.0,), diverged=True)
        early, late = [50.0] * (epochs - 1), [95.0 + rate / 100] * (11 - epochs)
        return Course((*early, *late))

    return at


@pytest.mark.parametrize(
    ("with_bn", "without", "verdict"),
    [
        ((1.0, 3), (0.1, 5), "holds"),
        ((3.0, 3), (0.03, 5), "holds in direction"),  # a hundred times
        ((0.1, 3), (0.1, 5), "not separated"),
        ((1.0, 5), (0.1, 5), "not separated"),
        ((0.1, 3), (1.0, 5), "fails here"),
        ((1.0, 6), (0.1, 5), "fails here"),
    ],
)
def test_learning_rates(
    with_bn: tuple[float, int], without: tuple[float, int], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def course(graph: Graph, rate: float, seed: int) -> Course:
        normalised = any(isinstance(op, Conv) and op.norm for op in graph.ops)
        return courses(*(with_bn if normalised else without))(rate)

    monkeypatch.setattr(inception, "course", course)
    found = examined(48)
    assert found.verdict == verdict
    assert f"{with_bn[0] / without[0]:.1f} times as high" in found.found


def test_what_diverges_has_guessed_and_what_never_learns_takes_all_epochs() -> None:
    diverged, slow = Course((95.0,), diverged=True), Course((10.0,) * 10)
    assert diverged.final == 10.0
    assert slow.epochs_to_learn == 10
    sweep = {0.1: [slow], 1.0: [diverged]}
    assert inception.highest_rates(sweep) == [0.1]


def test_a_course_that_diverges() -> None:
    course = inception.course(digits.small(inception._WITHOUT), 1000.0, 0)
    assert course.diverged
    assert len(course.accuracies) < 10
