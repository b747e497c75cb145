from dataclasses import replace

import pytest

from nas.preferences import learned_preferences, strongest
from nas.report import write_report
from nas.study import ReplayError
from nas.trial import Trial, read_trials
from search_spaces.mnasnet import MNASNET
from tests.nas.report_runs import latency_of, make_run


def test_random_search_prefers_nothing(tmp_path):
    config = make_run(tmp_path / "run")
    preferences = learned_preferences(config, read_trials(tmp_path / "run" / "trials.jsonl"))
    assert [p.choice for p in preferences] == list(MNASNET.choices)
    assert all(p.num_proposals == 300 for p in preferences)
    assert strongest(preferences, 3) == []  # the seed is fixed, so this cannot fail by chance


def test_a_learning_controller_shows_what_it_was_rewarded_for(tmp_path):
    recipe = "{trials: 40, concurrency: 2, controller: {name: ppo, options: {batch_size: 4, learning_rate: 0.03}}}"

    def rewarded(blank: Trial) -> Trial:
        reward = 1.0 if blank.choices["b7.kernel"] == 5 else 0.1
        return replace(blank, status="ok", accuracy=0.9, latency=latency_of(3.0), reward=reward)

    config = make_run(tmp_path / "run", rewarded, recipe=recipe, stop_after=37)
    trials = read_trials(tmp_path / "run" / "trials.jsonl")
    preferences = learned_preferences(config, trials, num_proposals=100)
    assert learned_preferences(config, trials, num_proposals=100) == preferences
    assert ("b7.kernel", 5) in [(p.choice.name, option) for p, option in strongest(preferences, 99)]


def test_journal_of_another_seed_is_said_to_be_one(tmp_path):
    config = make_run(tmp_path / "run", stop_after=4)
    trials = read_trials(tmp_path / "run" / "trials.jsonl")
    with pytest.raises(ReplayError):
        learned_preferences(config.model_copy(update={"seed": 1}), trials)
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    write_report(tmp_path / "run")
    assert "could not be brought back" in (tmp_path / "run" / "report.html").read_text()
