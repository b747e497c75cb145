"""What the actor of a device does, without its process: a formula measures."""

import pytest

from latency.device_record import DeviceRecord
from latency.estimator import Spread
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter_process import MeasuringError
from nas import device_actor
from nas.config import parse_config
from nas.device_actor import DeviceMeter, Yardstick, check_pools
from nas.device_records import state_folder
from nas.errors import UserError
from nas.latency_section import DeviceSection
from search_spaces.zoo import get
from tests.latency.synthetic_runtime import SyntheticMeter

SECTION = parse_config("latency: {resolution: 32, num_classes: 10, devices: [{name: desk}]}", "r.yaml").latency
ARCH = str(get("mobilenet_v3_small"))


class Opened(SyntheticMeter):
    """In place of `MeterProcess`; the one last made is kept."""

    last: "Opened"

    def __init__(self, core, deployment):
        super().__init__()
        Opened.last = self
        self.is_open = True

    def close(self):
        self.is_open = False


@pytest.fixture(autouse=True)
def _no_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(device_actor, "MeterProcess", Opened)
    monkeypatch.setattr(device_actor, "pin", lambda cores: True)


def meter(yardstick=None):
    return DeviceMeter(SECTION.devices[0], SECTION, yardstick, None)


def test_a_new_device_is_calibrated():
    said = meter().calibration()
    assert said["reference_ms"] > 0
    assert said["device"] == Opened.last.device.to_dict()
    assert said["spread"] == {"session_sd": Spread().session_sd, "process_sd": Spread().process_sd}
    assert Opened.last.num_measured == 3


def test_what_was_frozen_is_not_measured_again():
    said = meter(Yardstick(7.5, Spread(session_sd=0.02, process_sd=0.01))).calibration()
    assert (said["reference_ms"], said["spread"]) == (7.5, {"session_sd": 0.02, "process_sd": 0.01})
    assert Opened.last.num_measured == 0


def test_the_last_check_calibrates_a_run():
    first = meter()
    first.calibration()
    assert first._source is not None
    noise = Spread(session_sd=0.03, process_sd=0.02)
    DeviceRecord(
        device=Opened.last.device,
        reference_sha256=first._source.reference.sha256,
        reference_ms=6.5,
        spread=noise,
        p95_abs_log_ratio=0.01,
        num_pairs=4,
        status="ok",
        checked_unix=0.0,
    ).save(state_folder() / "latency")
    said = meter().calibration()
    assert (said["reference_ms"], said["spread"]["process_sd"]) == (6.5, 0.02)
    assert Opened.last.num_measured == 0
    # a table brings a time of its own, but knows nothing of the noise
    of_table = meter(Yardstick(9.0)).calibration()
    assert (of_table["reference_ms"], of_table["spread"]["process_sd"]) == (9.0, 0.02)


@pytest.mark.parametrize(("grade", "num_processes"), [("search", 1), ("final", 5)])
def test_networks_are_measured_with_care(grade, num_processes):
    latency, measurements = meter(Yardstick(5.0)).measure(ARCH, grade)
    found = Latency.from_dict(latency)
    assert len(measurements) == num_processes == Opened.last.num_measured
    assert found.latency_ms == pytest.approx(5.0 * found.ratio)
    assert Measurement.from_dict(measurements[0]).ratio == pytest.approx(found.ratio)


def test_kernels_are_summed_by_operation():
    times = meter(Yardstick(5.0)).kernel_times_us(ARCH)
    assert all(time_us > 0 for time_us in times.values())
    assert any(name.startswith("b1.l1") for name in times)


def test_it_lets_go_of_its_device():
    device = meter(Yardstick(5.0))
    device.close()  # of nothing, yet
    device.calibration()
    device.close()
    assert not Opened.last.is_open


def test_it_says_what_it_is():
    assert repr(meter()).startswith("latency meter desk on core ")
    board = "{name: board, server: 'http://127.0.0.1:8470', pool: p, token_file: t}"
    section = parse_config(f"latency: {{devices: [{board}]}}", "r.yaml").latency
    assert repr(DeviceMeter(section.devices[0], section, None, None)) == "latency meter board at http://127.0.0.1:8470"


def test_a_device_that_cannot_measure_says_so(monkeypatch):
    def refuse(self, *arguments, **options):
        raise MeasuringError("the measuring process did not start")

    monkeypatch.setattr(Opened, "measure", refuse)
    with pytest.raises(MeasuringError, match="did not start"):
        meter().calibration()


POOLS = {"CPU": 4.0, "latency:pixels": 2.0, "latency:boards": 1.0, "node:1.2.3.4": 1.0}


def pools(monkeypatch, *wanted, free=None):
    monkeypatch.setattr(device_actor.ray, "cluster_resources", lambda: POOLS)
    monkeypatch.setattr(device_actor.ray, "available_resources", lambda: POOLS if free is None else free)
    return check_pools([DeviceSection(name=f"d{number}", ray=pool) for number, pool in enumerate(wanted)])


def test_pools_of_a_cluster(monkeypatch):
    assert pools(monkeypatch, None, "pixels", "boards", "pixels") == []
    assert pools(monkeypatch, None, free={}) == []
    assert pools(monkeypatch, "pixels", "boards", free={"latency:pixels": 1.0}) == ["boards"]  # waited for
    assert pools(monkeypatch, "pixels", "pixels", free={"latency:pixels": 1.0}) == ["pixels"]


def test_pools_that_a_cluster_has_not(monkeypatch):
    """Two devices that wait for one machine would wait for ever."""
    with pytest.raises(
        UserError, match=r"'d1': no machine .* offers pool 'phones'; pools there: boards, pixels; on the"
    ):
        pools(monkeypatch, "pixels", "phones")
    with pytest.raises(UserError, match=r"'d0', 'd2': pool 'boards' is offered 1 times, 2 are needed$"):
        pools(monkeypatch, "boards", "pixels", "boards")
