"""A policy that draws the candidates of training steps learns from them, once a step, and from its journal."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch

from controllers.reinforce import ReinforceConfig, ReinforceController
from nas.errors import UserError
from nas.jsonl import JsonLines
from nas.path_sampling import RepeatableSampler, fair_paths
from nas.policy_sampler import FORMAT, JOURNAL, VERSION, PolicySampler, Scored, read_steps, replay
from search_spaces.arch import Head, Stem
from search_spaces.stages import StageLayout, StageOptions, stage_space

STAGE = StageOptions(filters=(4, 8), kernel=(3, 5), skip=("identity", "none"), stride=2)  # the skip never matters
SPACE = stage_space("tiny", StageLayout(stages=(STAGE,), stem=Stem(4), head=Head(None)))
CONFIG = ReinforceConfig(learning_rate=0.1, batch_size=4, entropy_weight=0.0, hierarchical=True, num_draws=1)
WARM_UP = 5


def rewards_of(sign: float):
    """8 filters are worth more than 4, kernels nothing, noise of the draw for all alike; 5x5 with 4 filters fails."""

    def rewards(candidates, generator):
        noise = float(torch.rand((), generator=generator))
        found = []
        for choices in candidates:
            reward = sign * 0.1 * float(choices["b1.filters"]) + 0.1 * noise
            failed = (choices["b1.filters"], choices["b1.kernel"]) == (4, 5)
            found.append(Scored(-1.0, 0.5, None) if failed else Scored(reward, 0.5, 1.0))
        return found

    return rewards


class Sampling:
    """A sampler with its controller and journal."""

    def __init__(self, folder, sign=1.0, rewards=None):
        self.controller = ReinforceController(SPACE.choices, 0, CONFIG)
        self.journal = JsonLines(folder / JOURNAL, FORMAT, VERSION)
        self.sampler = PolicySampler(
            self.controller,
            rewards or rewards_of(sign),
            fair_paths,
            num_warm_up=WARM_UP,
            num_candidates=4,
            journal=self.journal,
        )

    def steps(self, generator, number):
        return [self.sampler(SPACE, generator) for _ in range(number)]


@pytest.fixture
def sampling(tmp_path):
    """Makes samplers with their journal in the test's folder; closes the journals."""
    with contextlib.ExitStack() as stack:

        def make(*args, **kwargs):
            made = Sampling(tmp_path, *args, **kwargs)
            stack.enter_context(made.journal)
            return made

        yield make


def seeded():
    return torch.Generator().manual_seed(0)


def share(paths, name, option):
    return sum(choices[name] == option for step in paths for choices in step) / sum(map(len, paths))


@pytest.mark.parametrize(("sign", "best"), [(1.0, 8), (-1.0, 4)])
def test_it_warms_up_and_then_finds_what_is_better(sign, best, sampling):
    sampling = sampling(sign)
    first = sampling.steps(generator := seeded(), WARM_UP)
    assert first == [fair_paths(SPACE, g) for g in [seeded()] for _ in range(WARM_UP)]
    assert sampling.journal.records == []
    assert not sampling.controller.logits[:, :2].any()

    steps = sampling.steps(generator, 120)

    assert sampling.controller.most_likely()["b1.filters"] == best
    assert share(steps[-20:], "b1.filters", best) > 0.9
    assert {len(step) for step in steps} == {4}
    position = [choice.name for choice in SPACE.choices].index("b1.skip")
    assert not sampling.controller.logits[position, :2].any()  # it shapes nothing, so nothing is learnt of it
    entries = [entry for record in sampling.journal.records for entry in record["candidates"]]
    assert all(entry["inactive"] == ["b1.skip"] for entry in entries)
    assert {entry["failed"] for entry in entries} == {False, True}


def test_a_journal_brings_a_sampler_back(sampling, tmp_path):
    whole = sampling()
    generator = seeded()
    whole.steps(generator, 12)
    state = generator.get_state()
    rest = whole.steps(generator, 9)
    whole.journal.close()
    everything = (tmp_path / JOURNAL).read_bytes()

    resumed = sampling()  # the journal reaches beyond the checkpoint
    resumed.sampler.resume(12)
    generator.set_state(state)

    assert len(resumed.journal.records) == 12 - WARM_UP
    assert resumed.steps(generator, 9) == rest
    assert (resumed.controller.logits == whole.controller.logits).all()
    assert (tmp_path / JOURNAL).read_bytes() == everything

    early = sampling()
    early.sampler.resume(2)
    assert early.journal.records == []


def test_a_step_that_is_repeated_is_told_once(sampling, tmp_path):
    class FullError(Exception):
        pass

    attempts = iter([False, True, True, False, True])  # whether scoring fits into memory
    scoring = rewards_of(1.0)

    def rewards(candidates, generator):
        if not next(attempts):
            raise FullError
        return scoring(candidates, generator)

    sampling, generator = sampling(rewards=rewards), seeded()
    sampler = RepeatableSampler(sampling.sampler)
    sampling.steps(generator, WARM_UP)
    for _ in range(2):
        before = generator.get_state()
        with pytest.raises(FullError):
            sampler(SPACE, generator)
        generator.set_state(before)
        paths = sampler(SPACE, generator)
        after = generator.get_state()
        generator.set_state(before)  # training on them ran out of memory
        assert sampler(SPACE, generator) == paths
        assert torch.equal(generator.get_state(), after)
        if len(sampling.journal.records) == 1:
            sampler(SPACE, generator)
    assert len(sampling.journal.records) == 3
    fresh = ReinforceController(SPACE.choices, 0, CONFIG)
    replay(fresh, sampling.journal.records, 3, tmp_path)  # every suggestion was told: nothing is left open
    assert (fresh.logits == sampling.controller.logits).all()
    assert fresh.logits[:, :2].any()


def test_foreign_and_damaged_journals_are_refused(sampling, tmp_path):
    sampling = sampling()
    sampling.steps(seeded(), WARM_UP + 3)
    records, path = read_steps(tmp_path / JOURNAL), tmp_path / JOURNAL
    assert records == sampling.journal.records

    with pytest.raises(UserError, match=r"learned in 4 steps, 3 are here; delete its folder"):
        replay(ReinforceController(SPACE.choices, 0, CONFIG), records, 4, path)
    with pytest.raises(UserError, match="step 5 is not what this seed and controller ask for"):
        replay(ReinforceController(SPACE.choices, 1, CONFIG), records, 3, path)
    with pytest.raises(UserError, match=r"no such file; delete its folder"):
        read_steps(tmp_path / "none.jsonl")
    path.write_text(json.dumps({"format": FORMAT, "version": VERSION + 1}) + "\n")
    with pytest.raises(UserError, match="delete its folder"):
        read_steps(path)
