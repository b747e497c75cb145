"""What int8 arithmetic does to a network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from search_spaces.graph import Graph

_NUM_IMAGES = 8


def logits(model: bytes, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Outputs of an ONNX model, the batches' one after another, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": batch})[0] for batch in batches])


def int8_error(graph: Graph, seed: int) -> float:
    """Relative error of the int8 network's logits, with random weights, on images other than those of calibration."""
    from latency.int8 import quantize
    from search_spaces.onnx_model import emit_onnx, seeded_weights

    rng = np.random.default_rng(seed)
    images = [rng.standard_normal((1, *graph.input_shape), dtype=np.float32) for _ in range(2 * _NUM_IMAGES)]
    network = emit_onnx(graph, seeded_weights(seed))
    exact, rounded = (logits(m, images[_NUM_IMAGES:]) for m in (network, quantize(network, images[:_NUM_IMAGES])))
    return float(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))
