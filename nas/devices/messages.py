"""What travels between server, agents and clients: JSON, strictly checked. Models travel beside it, as bytes.

The agent has no pydantic; `latency.agent` writes and reads the same as plain dictionaries. `PROTOCOL` counts changes that
an older side would misunderstand.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from latency.agent_client import PROTOCOL
from latency.deployment import Deployment
from latency.meter import MeterSettings

MAX_JSON_BYTES = 16_000_000
"""Largest JSON document; a long measurement's raw pairs are a tenth of a megabyte."""

MAX_PAIRS = 4000
"""Most pairs of a measurement: the estimator's time and memory grow with the square; a minute's measurement has 2000."""

_LONGEST_TEXT = 1000
_LARGEST_FIGURE = 1e12

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Wait = Annotated[float, Field(ge=0, le=30)]


class Message(BaseModel):
    """Unknown keys are errors: the other side means something that this one does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Joining(Message):
    """An agent starts: the device and which process speaks for it."""

    protocol: int
    pool: str
    name: Name
    instance: JobId
    core: Annotated[int, Field(ge=0, le=1_000_000)] | None
    device: Annotated[dict[str, int | float | str], Field(max_length=50)]

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: int) -> int:
        if protocol != PROTOCOL:
            raise ValueError(f"protocol {protocol}, the server speaks {PROTOCOL}: install the same version on both")
        return protocol

    @field_validator("device")
    @classmethod
    def _printable(cls, device: dict[str, int | float | str]) -> dict[str, int | float | str]:
        """What people will read in lists: nothing that moves their terminal's cursor, and no NaN, which JSON lacks."""
        for name, value in device.items():
            if isinstance(value, str) and not (len(value) <= _LONGEST_TEXT and value.isprintable()):
                raise ValueError(f"{name} must be printable and of at most {_LONGEST_TEXT} characters")
            if not isinstance(value, str) and not -_LARGEST_FIGURE <= value <= _LARGEST_FIGURE:
                raise ValueError(f"{name} {value} is no figure of a device")
        return device


class Speaker(Message):
    """Which agent process says something."""

    pool: str
    name: Name
    instance: JobId


class Asking(Speaker):
    """An idle agent asks for a job and waits up to `wait_s` seconds for one."""

    wait_s: Wait = 25.0


class JobRequest(Message):
    """What a client wants done; the body of a job.

    Attributes:
        kind: ``measure`` a candidate against a reference, ``trace`` a candidate, or ``describe`` the device.
        platform: platform of the devices that may do it, as an earlier job's result named it; None for any.
        deployment: of the networks, as `Deployment.to_dict` has it; None for the device's default.
        candidate: sha256 of the model; not for ``describe``.
        reference: sha256; for ``measure`` only.
        settings: of the meter, as `MeterSettings.to_dict` has them; for ``measure`` only.
        seed: draws where in memory the networks come to lie.
        fresh_process: measure in a process of its own.
        num_runs: inferences of a trace.
    """

    kind: Literal["measure", "trace", "describe"]
    platform: str | None = None
    deployment: dict[str, Any] | None = None
    candidate: Sha256 | None = None
    reference: Sha256 | None = None
    settings: dict[str, Any] | None = None
    seed: int = 0
    fresh_process: bool = False
    num_runs: int = Field(20, ge=1, le=10_000)

    @field_validator("deployment")
    @classmethod
    def _deployable(cls, fields: dict[str, Any] | None) -> dict[str, Any] | None:
        if fields is not None:
            _as_value_error(Deployment.from_dict, fields)
        return fields

    @field_validator("settings")
    @classmethod
    def _measurable(cls, fields: dict[str, Any] | None) -> dict[str, Any] | None:
        if fields is not None:
            _as_value_error(MeterSettings.from_dict, fields)
        return fields

    def model_post_init(self, _: Any) -> None:
        """Refuse a job that lacks what its kind needs."""
        needed = {"measure": ("candidate", "reference", "settings"), "trace": ("candidate",), "describe": ()}
        missing = [name for name in needed[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a job of kind {self.kind} needs {', '.join(missing)}")
        settings = self.meter_settings
        pairs = (2 * settings.budget_s + settings.session_s) / (2 * min(settings.block_s, settings.max_block_s))
        if pairs > MAX_PAIRS:
            raise ValueError(
                f"settings: about {pairs:.0f} pairs of blocks, at most {MAX_PAIRS} are taken; lower budget_s or raise block_s"
            )

    @property
    def models(self) -> list[str]:
        """Checksums of the models that it needs."""
        return [sha256 for sha256 in (self.candidate, self.reference) if sha256 is not None]

    @property
    def survives_storage(self) -> bool:
        """Whether it is the same when it is read back; one that is not would stop whoever reads the queue."""
        try:
            return JobRequest.model_validate_json(self.model_dump_json()) == self
        except ValueError:
            return False

    @property
    def meter_settings(self) -> MeterSettings:
        """`settings` as the meter has them; the meter's defaults where they are None."""
        return MeterSettings.from_dict(self.settings) if self.settings is not None else MeterSettings()


class Report(Message):
    """How an attempt ended, told by the agent.

    Attributes:
        kind: ``measurement``, ``trace`` and ``device`` carry the answer; ``error`` says that the job cannot be done
            anywhere (its reference cannot be run); ``fault`` that this device cannot do it; ``released`` that the agent was
            stopped.
        answer: `Measurement.to_dict`, the trace, or `DeviceInfo.to_dict`.
        crashed: the measuring process died of it.
        reason: of an error, a fault or a release.
    """

    kind: Literal["measurement", "trace", "device", "error", "fault", "released"]
    answer: dict[str, Any] | None = None
    crashed: bool = False
    reason: str | None = Field(None, max_length=4000)

    def model_post_init(self, _: Any) -> None:
        """Refuse an answer that is missing, and an excuse without words."""
        if self.kind in ("measurement", "trace", "device"):
            if self.answer is None:
                raise ValueError(f"a report of kind {self.kind} needs an answer")
        elif not self.reason:
            raise ValueError(f"a report of kind {self.kind} needs a reason")
        try:
            json.dumps(self.answer, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ValueError(f"answer: cannot be told to the client ({error})") from None


class Reporting(Speaker):
    """A report and who makes it."""

    report: Report


def measure_request(candidate: str, reference: str, settings: MeterSettings, **fields: Any) -> JobRequest:
    """A job that measures `candidate` against `reference`, both checksums; other fields as `JobRequest` has them."""
    return JobRequest(kind="measure", candidate=candidate, reference=reference, settings=settings.to_dict(), **fields)


def _as_value_error(parse: Any, fields: dict[str, Any]) -> None:
    try:
        parse(fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{error}: client and server are of different versions") from None
