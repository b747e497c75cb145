"""What ONNX Runtime really executes, and for how long: its own profile, taken on the device.

Totals of a trace are no latency: profiling slows a network two- to threefold (onnxruntime issue 20238). Rows are for
attributing a measured latency to layers.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime as ort

from latency.runtime import LoadedModel

_SUFFIX = "_kernel_time"
_WARMUP_RUNS = 3
_KEPT_INLINE_BYTES = 128


def trace(model: bytes, num_runs: int, options: ort.SessionOptions, provider: str) -> dict[str, Any]:
    """Profile `num_runs` inferences after 3 that are dropped.

    Args:
        model: ONNX bytes.
        num_runs: at least 1.
        options: as for `LoadedModel`; used up, for profiling is switched on in them.
        provider: likewise.

    Returns:
        As JSON types: ``optimized``, base64 of the executed ONNX graph without its weights, and ``events``, one
        ``[name, op_type, durations in microseconds, input shapes, output shapes]`` for every executed kernel, in order.

    Raises:
        ModelRejectedError: the runtime cannot load the model.
    """
    with tempfile.TemporaryDirectory(prefix="nas-profile-") as name:
        folder = Path(name)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "trace")
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        entry = options.add_session_config_entry
        entry("session.optimized_model_external_initializers_file_name", "weights.bin")  # left behind: megabytes
        entry("session.optimized_model_external_initializers_min_size_in_bytes", str(_KEPT_INLINE_BYTES))
        loaded = LoadedModel(model, options, provider)
        for _ in range(_WARMUP_RUNS + num_runs):
            loaded.run()
        events = json.loads(Path(loaded.session.end_profiling()).read_text())
        optimized = (folder / "optimized.onnx").read_bytes()
    return {"optimized": base64.b64encode(optimized).decode(), "events": _kernels(events)}


def _shapes(typed_shapes: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for typed in typed_shapes for shape in typed.values()]


def _kernels(events: list[dict[str, Any]]) -> list[list[Any]]:
    rows: dict[str, list[Any]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX):
            continue
        name, args = event["name"].removesuffix(_SUFFIX), event["args"]
        shapes = (_shapes(args.get(key, [])) for key in ("input_type_shape", "output_type_shape"))
        rows.setdefault(name, [name, args["op_name"], [], *shapes])[2].append(event["dur"])
    for row in rows.values():
        row[2] = row[2][_WARMUP_RUNS:]
    return list(rows.values())
