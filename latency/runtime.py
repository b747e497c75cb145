"""ONNX Runtime, set in the one way that this package measures with, and a model ready to run.

Imports nothing but the standard library, numpy and onnxruntime: it runs on the device.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from latency.device_info import PROVIDER

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_ERRORS_ONLY = 3


class ModelRejectedError(ValueError):
    """A model that the runtime cannot load, or that cannot be timed with static shapes and float inputs."""


def session_options() -> ort.SessionOptions:
    """One thread, sequential, all optimisations, no spinning.

    Spinning threads of an idle session would take cores from the one that is timed (onnxruntime issue 17011); with one
    thread there is no pool, the entry guards the day the number changes.
    """
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _shape(argument: ort.NodeArg) -> tuple[int, ...]:
    shape = tuple(argument.shape)
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ModelRejectedError(f"tensor {argument.name!r} has shape {list(shape)}: static shapes are needed")
    return shape


def _random_value(argument: ort.NodeArg, rng: np.random.Generator) -> ort.OrtValue:
    if argument.type not in _DTYPES:
        raise ModelRejectedError(f"input {argument.name!r} is {argument.type}; known: {', '.join(_DTYPES)}")
    values = rng.standard_normal(_shape(argument)).astype(_DTYPES[argument.type])
    return ort.OrtValue.ortvalue_from_numpy(values)


class LoadedModel:
    """A session with its input in place: `run` does one inference and allocates nothing in Python.

    The input is drawn from a normal distribution by `seed`; zeros or denormals would run at another speed.

    Raises:
        ModelRejectedError: invalid model, free dimensions, or inputs that are not floating-point.
    """

    def __init__(self, model: bytes, options: ort.SessionOptions | None = None, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        try:
            self.session = ort.InferenceSession(model, options or session_options(), providers=[PROVIDER])
        except Exception as error:  # ORT's exceptions share no base class of their own
            raise ModelRejectedError(f"ONNX Runtime cannot load the model: {error}") from error
        self._binding = self.session.io_binding()
        for argument in self.session.get_inputs():
            self._binding.bind_ortvalue_input(argument.name, _random_value(argument, rng))
        for argument in self.session.get_outputs():
            self._binding.bind_output(argument.name)

    def run(self) -> None:
        """One inference."""
        self.session.run_with_iobinding(self._binding)
