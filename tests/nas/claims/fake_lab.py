"""A lab whose ratios and kernels are made up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from latency.kernel_profile import Kernel
from nas.claims.lab import Lab, Ratio, Subject
from search_spaces.graph import Graph

HALF_WIDTH = 0.005


class FakeLab(Lab):
    """Ratios come from `values` in order, the last again and again, with intervals of `half_width` in the logarithm.

    Attributes:
        asked: candidate and reference of each ratio.
    """

    def __init__(self, values: Sequence[float] = (1.0,), half_width: float = HALF_WIDTH) -> None:
        super().__init__()
        self._values, self._half_width = values, half_width
        self.asked: list[tuple[bytes | Subject | Graph, bytes | Subject | Graph]] = []

    def ratio(
        self,
        candidate: bytes | Subject | Graph,
        reference: bytes | Subject | Graph,
        what: str = "",
        *,
        grade: str = "search",
    ) -> Ratio:
        value = self._values[min(len(self.asked), len(self._values) - 1)]
        self.asked.append((candidate, reference))
        return Ratio(value, (value * math.exp(-self._half_width), value * math.exp(self._half_width)), "ok")

    def kernels(self, subject: bytes | Subject | Graph) -> list[Kernel]:
        """One a node, of a microsecond each; nothing is fused."""
        if isinstance(subject, bytes):
            named = [(node.name, node.op_type) for node in onnx.load_from_string(subject).graph.node]
        else:
            graph = subject if isinstance(subject, Graph) else self.graph(subject)
            named = [(op.name, type(op).__name__) for op in graph.ops]
        return [Kernel(name, op_type, 1.0, name, "", (), (), {}) for name, op_type in named]
