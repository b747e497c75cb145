"""How a network is deployed. Imports the standard library alone: it is read on the device and off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

CPU_PROVIDER = "CPUExecutionProvider"
MIN_RESOLUTION = 8

Dtype = Literal["float32", "int8"]
"""Type of a network's arithmetic; images and logits are float32 in either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """How a network is deployed: part of what its latency means, beside the machine.

    Attributes:
        resolution: side of the square input in pixels, at least 8.
        batch: images per inference, at least 1; the latency is that of the whole batch.
        num_threads: threads inside one operator, at least 1; each gets a core of its own.
        dtype: ``float32`` or ``int8``; see `latency.int8`.
        provider: execution provider of ONNX Runtime. Whether the device has it is found out there.

    Raises:
        ValueError: a value outside these.
    """

    resolution: int = 224
    batch: int = 1
    num_threads: int = 1
    dtype: Dtype = "float32"
    provider: str = CPU_PROVIDER

    def __post_init__(self) -> None:
        for name, least in (("resolution", MIN_RESOLUTION), ("batch", 1), ("num_threads", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} {value!r} must be a whole number, at least {least}")
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype {self.dtype!r} is unknown; allowed: {', '.join(get_args(Dtype))}")
        if not isinstance(self.provider, str) or not self.provider:
            raise ValueError(
                f"provider {self.provider!r} must name an execution provider of ONNX Runtime, such as {CPU_PROVIDER}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Deployment:
        """Inverse of `to_dict`; what is missing has its default.

        Raises:
            TypeError: unknown fields.
            ValueError: as the class.
        """
        return cls(**data)
