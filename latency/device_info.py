"""What a latency depends on besides the network: the machine, the runtime and how it is set."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import onnxruntime

from latency.deployment import Deployment, Dtype
from latency.runtime import options_text


def _cpu_model() -> str:
    """The processor's name as the kernel gives it; boards without one name the board."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [fields.get(key) for key in ("model name", "Model", "Hardware")]
    return next((name for name in names if name), platform.processor() or platform.machine())


def _memory_gib() -> float:
    """Installed memory to 0.1 GiB, for the kernel's share differs by kilobytes from start to start; 0 when unknown."""
    try:
        total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 0.0
    return round(total_bytes / 2**30, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """Two latencies are comparable if and only if their `DeviceInfo` are equal.

    Attributes:
        cpu: model name of the processor.
        num_cores: logical cores that the system shows.
        memory_gib: installed memory, to 0.1 GiB.
        system: operating system and kernel release.
        machine: instruction set, such as ``x86_64`` or ``aarch64``.
        python: version of the interpreter.
        onnxruntime: version of the runtime; kernels change between versions.
        options: how the runtime's sessions are set, as `latency.runtime.options_text` gives it.
        resolution: this and the rest: as in `Deployment`.
        batch: likewise.
        num_threads: likewise; another number is another platform.
        dtype: likewise.
        provider: likewise.
    """

    cpu: str
    num_cores: int
    memory_gib: float
    system: str
    machine: str
    python: str
    onnxruntime: str
    options: str
    resolution: int
    batch: int
    num_threads: int
    dtype: Dtype
    provider: str

    @classmethod
    def collect(cls, deployment: Deployment | None = None) -> DeviceInfo:
        """This machine, with networks deployed as `deployment` says; by default as `Deployment()`."""
        deployment = deployment or Deployment()
        return cls(
            cpu=_cpu_model(),
            num_cores=os.cpu_count() or 1,
            memory_gib=_memory_gib(),
            system=f"{platform.system()} {platform.release()}",
            machine=platform.machine(),
            python=platform.python_version(),
            onnxruntime=onnxruntime.__version__,
            options=options_text(deployment),
            **deployment.to_dict(),
        )

    @property
    def deployment(self) -> Deployment:
        """The part that is a choice, not a machine."""
        return Deployment(**{field.name: getattr(self, field.name) for field in fields(Deployment)})

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def difference(self, other: DeviceInfo) -> str:
        """What keeps latencies of the two apart, for a message: ``cpu: A here, B there; batch: 1 here, 2 there``.

        Empty if and only if the two are equal.
        """
        mine, others = asdict(self), asdict(other)
        return "; ".join(
            f"{name}: {mine[name]} here, {others[name]} there" for name in mine if mine[name] != others[name]
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeviceInfo:
        """Inverse of `to_dict`.

        Raises:
            TypeError: unknown or missing fields.
        """
        return cls(**data)
