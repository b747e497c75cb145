import struct
from collections import defaultdict

from tensorboardX.proto.event_pb2 import Event

from nas.tensorboard_curves import FOLDER, SearchCurves
from tests.nas.test_standing import failed, trial

TRIALS = [trial(0, 0.7), trial(1, 0.8, times={"finished_unix": 1e9}), failed(2), trial(3, 0.75, 2.0)]


def events(run):
    """All that lies in the folder, as TensorBoard reads it: length, its checksum, data, its checksum."""
    for path in sorted((run / FOLDER).rglob("events.out.tfevents.*")):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack_from("<Q", raw)
            yield Event.FromString(raw[12 : 12 + length])
            raw = raw[16 + length :]


def curves(run):
    found = defaultdict(list)
    for event in events(run):
        for value in event.summary.value:
            found[value.tag].append((event.step, round(value.simple_value, 4)))
    return dict(found)


def write(run, trials):
    with SearchCurves(run) as written:
        for one in trials:
            written.finished(one)


def test_curves_over_trial_numbers_whichever_ends_first(tmp_path):
    write(tmp_path, [TRIALS[i] for i in (1, 0, 3, 2)])
    found = curves(tmp_path)
    assert found["search/reward"] == [(0, 0.7), (1, 0.8), (2, 0.0), (3, 0.75)]
    assert found["search/best_reward"] == [(0, 0.7), (1, 0.8), (2, 0.8), (3, 0.8)]
    assert found["search/accuracy"] == [(0, 0.7), (1, 0.8), (3, 0.75)]
    assert found["search/latency_ms"] == [(0, 3.0), (1, 3.0), (3, 2.0)]
    assert found["search/trials_failed"] == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)]
    assert 1e9 in {event.wall_time for event in events(tmp_path)}


def test_they_are_on_the_disk_as_soon_as_no_lower_number_is_missing(tmp_path):
    with SearchCurves(tmp_path) as written:
        written.finished(TRIALS[1])
        assert curves(tmp_path) == {}
        written.finished(TRIALS[0])
        assert len(curves(tmp_path)["search/reward"]) == 2


def test_whoever_continues_a_run_duplicates_nothing(tmp_path):
    write(tmp_path, TRIALS[:2])
    write(tmp_path, TRIALS)
    assert [step for step, _ in curves(tmp_path)["search/reward"]] == [0, 1, 2, 3]
