"""The section ``latency`` of a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field, field_validator

from latency.deployment import CPU_PROVIDER, MIN_RESOLUTION, Deployment, Dtype
from latency.meter import GRADES, Grade
from nas.objective import Target
from nas.section import Positive, Section

LOCAL = "local"
"""Name of this machine where a recipe lists no devices."""

_SEARCH = GRADES["search"].settings

OverDevices = Literal["worst", "mean", "each"]
GradeName = Literal["search", "final"]


class DeviceSection(Section):
    """A device to measure on: this machine, one of the Ray cluster, or a board behind ``nas device serve``."""

    name: str = Field(min_length=1, max_length=40, pattern=r"^[\w.-]+$", description="how journal and report call it")
    ray: str | None = Field(None, description="any machine of the Ray cluster that offers the resource latency:NAME")
    server: str | None = Field(None, description="address of the device server, such as https://laptop.local:8470")
    pool: str | None = Field(None, description="with server: whose devices measure")
    token_file: str | None = Field(None, description="with server: a file with a client token of the pool")
    ca_file: str | None = Field(None, description="with server: certificate to trust besides the system's")
    target: str | None = Field(None, description="this device's own objective.target")

    @field_validator("target")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            Target.parse(text)
        return text


class LatencySection(Section):
    """Where latencies come from, and of what."""

    name: Literal["measure", "table", "hybrid", "recorded"] = Field(
        "measure",
        description="measure every network; price all by a table; price all and measure the best; or use another run's",
    )
    table: str | None = Field(None, description="table, hybrid: file that `nas latency table build` made")
    run: str | None = Field(None, description="recorded: the run folder whose latencies to use")
    resolution: int = Field(224, ge=MIN_RESOLUTION, description="deployment resolution in pixels")
    num_classes: Positive | None = Field(None, description="classes of the measured network; default: the data's")
    reference: str = Field("mobilenet_v2", description="network that ratios refer to")
    batch: Positive = Field(1, description="images per inference; the latency is that of the whole batch")
    num_threads: Positive = Field(1, description="threads of an inference, each on a core of its own")
    dtype: Dtype = Field("float32", description="arithmetic; int8 is calibrated with training images")
    provider: str = Field(CPU_PROVIDER, min_length=1, description="execution provider of ONNX Runtime")
    half_width: float = Field(
        _SEARCH.goal.half_width, gt=0, lt=1, description="aimed half-width of the 95 % interval of the ratio"
    )
    budget_s: float = Field(_SEARCH.budget_s, gt=0, description="longest measurement of one network")
    devices: list[DeviceSection] = Field(default_factory=list, description="default: this machine, named local")
    over_devices: OverDevices = Field("worst", description="how several devices make one reward")

    @property
    def num_outputs(self) -> int:
        """Classes of the measured network; ImageNet's 1000 where neither recipe nor data say."""
        return self.num_classes or 1000

    @property
    def deployment(self) -> Deployment:
        """How networks are deployed, on every device."""
        return Deployment(
            resolution=self.resolution,
            batch=self.batch,
            num_threads=self.num_threads,
            dtype=self.dtype,
            provider=self.provider,
        )

    @property
    def all_devices(self) -> list[DeviceSection]:
        """At least one; the first is the one whose milliseconds a reward is expressed in."""
        return self.devices or [DeviceSection(name=LOCAL)]

    def grade(self, name: GradeName) -> Grade:
        """How carefully to measure: a candidate as the recipe says, a finalist as `latency.meter.GRADES` does."""
        if name == "final":
            return GRADES["final"]

        goal = replace(_SEARCH.goal, half_width=self.half_width)
        return Grade(replace(_SEARCH, goal=goal, budget_s=self.budget_s), GRADES["search"].num_processes)
