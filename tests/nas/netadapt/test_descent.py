"""Steps with a disk but without training: what is kept when, what an interruption costs, what the journal says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nas.netadapt.adapt_config import JudgingSection
from nas.netadapt.adapt_run import Trajectory
from nas.netadapt.adaptation import Position, Rules, UnreachableError
from nas.netadapt.cost import mac_cost
from nas.netadapt.descent import Seed, descend, lottery, tournaments
from nas.netadapt.plan import lowest
from nas.netadapt.pricing import AsPriced, Settlement
from nas.netadapt.proposal import GROUPS, offer
from nas.netadapt.schedule import ReductionSchedule
from nas.netadapt.selection import RULES
from nas.netadapt.weighted_network import WeightedNetwork
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ARCH = parse_arch("stem_k3_s22_o16 r1_k3_s22_x64_i16_o24 r1_k3_s11_x72_i24_o24 head_o32")
RESOLUTION, NUM_CLASSES, NUM_STEPS = 16, 3, 32
MODEL = mac_cost(RESOLUTION, NUM_CLASSES)
SEED_COST = MODEL.cost(ARCH)
DATA = SimpleNamespace(
    sample=torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0)), metadata={}
)
CONFIG = SimpleNamespace(seed=0, judging=JudgingSection(num_steps=NUM_STEPS))


class InterruptedRunError(Exception):
    """As by a kill."""


@dataclass
class FakeArms:
    """Outcomes that follow the number of multiply-adds; dies at the call of a verb named ``die_at``, of that step."""

    die_at: tuple[str, int] | None = None

    def __post_init__(self):
        self.scored, self.finished, self.forgotten = [], [], []

    def score(self, network, parent, archs, round_):
        self._live("score", parent.step + 1)
        assert network.arch == parent.arch == archs[0]
        self.scored.append((parent.step + 1, round_.number, [str(arch) for arch in archs[1:]]))
        losses = [(SEED_COST - MODEL.cost(arch)) / SEED_COST for arch in archs]
        return [0.9 - 0.1 * loss**2 + np.linspace(-0.01, 0.01, 8) * loss for loss in losses]

    def finish(self, network, parent, arch, num_steps):
        self._live("finish", parent.step + 1)
        assert num_steps == NUM_STEPS
        self.finished.append((parent.step + 1, str(arch)))
        return network.narrowed(arch), np.array([1.0, 1.0, 0.0, 1.0])

    def forget(self, step):
        self._live("forget", step)
        self.forgotten.append(step)

    def _live(self, verb, step):
        if self.die_at == (verb, step):
            raise InterruptedRunError


@pytest.fixture(scope="module")
def seed():
    module = build_module(lower(ARCH, RESOLUTION, NUM_CLASSES), seed=0)
    network = WeightedNetwork.of(ARCH, module)
    return Seed(network, SEED_COST, None)


def rules(target=0.6):
    return Rules(ReductionSchedule.parse("0.1L"), SEED_COST, target * SEED_COST, selection=RULES["slope"].select)


def run(folder, seed, arms=None, make_judge=tournaments, pricing=None, target=0.6):
    arms, told = arms or FakeArms(), []
    folder.mkdir(exist_ok=True)
    with Trajectory(folder) as trajectory:
        network = descend(
            seed,
            rules(target),
            trajectory,
            pricing or AsPriced(MODEL),
            arms,
            make_judge(CONFIG, arms, RULES["slope"]),
            NUM_STEPS,
            DATA,
            told.append,
            clock=iter(np.arange(1000.0) ** 2).__next__,
        )
    return SimpleNamespace(network=network, arms=arms, told=told, records=trajectory.records, trajectory=trajectory)


def without_seconds(records):
    return [replace(record, seconds=0.0) for record in records]


@pytest.fixture(scope="module")
def whole(seed, tmp_path_factory):
    """An uninterrupted run."""
    return run(tmp_path_factory.mktemp("whole"), seed)


def test_steps_add_up_and_each_is_kept(whole, seed):
    assert [record.step for record in whole.records] == list(range(1, len(whole.records) + 1))
    assert len(whole.records) >= 3
    parent, cost = str(ARCH), SEED_COST
    for record in whole.records:
        assert (record.parent, record.cost, record.predicted) == (
            parent,
            MODEL.cost(parse_arch(record.arch)),
            record.cost,
        )
        assert record.choice.saving == pytest.approx(cost - record.cost)
        assert record.predicted_ratio == pytest.approx(record.cost / cost)
        assert record.asked == pytest.approx(min(0.1 * SEED_COST, cost - 0.6 * SEED_COST))
        assert (record.accuracy, record.num_images) == (0.75, 4)
        kept = whole.trajectory.network(record.step, RESOLUTION, NUM_CLASSES)
        assert kept.arch == parse_arch(record.arch)
        parent, cost = record.arch, record.cost
    assert cost <= 0.6 * SEED_COST
    assert str(whole.network.arch) == parent
    assert whole.told == whole.records
    assert whole.arms.forgotten == [record.step for record in whole.records]


def test_weights_of_a_step_are_cut_from_the_last_one(whole, seed):
    expected = seed.network
    for record in whole.records:
        expected = expected.narrowed(parse_arch(record.arch))
        kept = whole.trajectory.network(record.step, RESOLUTION, NUM_CLASSES)
        assert all(torch.equal(kept.state[name], tensor) for name, tensor in expected.state.items())


def test_seconds_are_of_each_step_alone(whole):
    """The clock is read as each begins and ends: it shows squares."""
    assert [record.seconds for record in whole.records] == [4.0 * n + 1 for n in range(len(whole.records))]


@pytest.mark.parametrize("verb", ["score", "finish", "forget"])
def test_an_interrupted_run_goes_on_after_the_last_step_that_was_kept(whole, seed, tmp_path, verb):
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", seed, FakeArms(die_at=(verb, 2)))
    before = (tmp_path / "run" / "steps.jsonl").read_bytes()
    again = run(tmp_path / "run", seed)
    assert (tmp_path / "run" / "steps.jsonl").read_bytes().startswith(before)
    assert without_seconds(again.records) == without_seconds(whole.records)
    assert again.told == again.records[2 if verb == "forget" else 1 :]
    assert again.network.arch == whole.network.arch


def test_a_network_without_its_step_is_made_again(whole, seed, tmp_path):
    """Killed between the two: while the network is measured."""

    class Dies(AsPriced):
        def settle(self, parent, parent_latency, accepted):
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", seed, pricing=Dies(MODEL))
    folder = tmp_path / "run" / "steps" / "01"
    assert {path.name for path in folder.iterdir()} == {"arch.json", "model.onnx", "weights.safetensors"}
    (folder / "weights.safetensors").write_bytes(b"torn")
    assert without_seconds(run(tmp_path / "run", seed).records) == without_seconds(whole.records)


def test_a_finished_run_does_nothing(whole, seed, tmp_path):
    run(tmp_path / "run", seed)
    again = run(tmp_path / "run", seed)
    assert (again.arms.scored, again.arms.finished, again.told) == ([], [], [])
    assert again.network.arch == whole.network.arch


def test_what_is_settled_counts(seed, tmp_path):
    """Each network really costs a tenth more than it is priced at: another step or two."""

    class Dearer(AsPriced):
        def settle(self, parent, parent_latency, accepted):
            return Settlement(1.1 * self.model.cost(accepted), 0.9)

    found = run(tmp_path / "run", seed, pricing=Dearer(MODEL))
    for record in found.records:
        assert record.cost == pytest.approx(1.1 * record.predicted)
        assert record.predicted_ratio == 0.9
    assert found.records[-1].cost <= 0.6 * SEED_COST < found.records[-2].cost


def test_what_cannot_be_reached_leaves_its_steps(seed, tmp_path):
    class NeverCheaper(AsPriced):
        def settle(self, parent, parent_latency, accepted):
            return Settlement(SEED_COST, 1.0)

    with pytest.raises(UnreachableError):
        run(tmp_path / "run", seed, pricing=NeverCheaper(MODEL))
    with Trajectory(tmp_path / "run") as trajectory:
        assert len(trajectory.records) >= 3
        last = trajectory.network(len(trajectory.records), RESOLUTION, NUM_CLASSES)
    assert str(last.arch) == trajectory.records[-1].arch
    assert lowest(ARCH, MODEL.cost, GROUPS["v3"]) == MODEL.cost(last.arch)


def test_lots_fall_the_same_way_again_and_each_stands_alone(seed, tmp_path):
    first, second = (run(tmp_path / name, seed, make_judge=lottery) for name in ("first", "second"))
    assert without_seconds(first.records) == without_seconds(second.records)
    for record in first.records:
        [candidate] = record.candidates
        assert (candidate.group, candidate.eliminated, record.tied) == (record.accepted, False, ())
    assert {number for _, number, _ in first.arms.scored} == {JudgingSection(num_steps=NUM_STEPS).rounds[-1].number}


def test_lots_fall_on_any_proposal(seed):
    """Over many steps each of the proposals is drawn, about as often as any other."""
    arms = FakeArms()
    judge = lottery(CONFIG, arms, RULES["slope"])(seed.network)
    proposals = offer(ARCH, MODEL.cost, 0.05 * SEED_COST, GROUPS["v3"]).proposals
    drawn = [judge(Position(ARCH, SEED_COST, step), proposals).candidates[0].proposal.group for step in range(60)]
    counts = [drawn.count(proposal.group) for proposal in proposals]
    assert len(counts) >= 3
    assert min(counts) >= 60 / len(counts) / 2
