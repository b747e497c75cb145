"""What an exported model is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latency.latency import Latency


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What one ONNX file is worth; None is what was not asked for.

    Attributes:
        num_right: images of the test split that it classifies right.
        num_test: how many there are.
        agreement: share of them in which it gives the class that the float32 model gives.
        latency: of one image on the device.
        device: where that was measured.
    """

    num_right: int | None = None
    num_test: int | None = None
    agreement: float | None = None
    latency: Latency | None = None
    device: str | None = None

    @property
    def accuracy(self) -> float | None:
        """In [0, 1]."""
        return None if self.num_right is None or not self.num_test else self.num_right / self.num_test

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; None is what was not asked for."""
        return {
            "test_accuracy": self.accuracy,
            "num_right": self.num_right,
            "num_test": self.num_test,
            "agreement": self.agreement,
            "latency": self.latency.to_dict() if self.latency else None,
            "device": self.device,
        }

    def metadata(self) -> dict[str, str]:
        """What the ONNX file says of itself."""
        found: dict[str, str] = {}
        if self.accuracy is not None:
            found["test_accuracy"] = f"{self.accuracy:.4f} of {self.num_test}"
        if self.agreement is not None:
            found["agreement_with_float32"] = f"{self.agreement:.4f} of {self.num_test}"
        if self.latency is not None:
            low, high = self.latency.interval_ms
            found["latency_ms"] = f"{self.latency.latency_ms:.4f} ({low:.4f} to {high:.4f}), {self.latency.status}"
            found["latency_device"] = str(self.device)
        return found
