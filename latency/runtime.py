"""ONNX Runtime, set in the one way that this package measures with, and a model ready to run.

Imports nothing but the standard library, numpy and onnxruntime: it runs on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from latency.deployment import CPU_PROVIDER, Deployment

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_ERRORS_ONLY = 3
_SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")
_AFFINITIES = "session.intra_op_thread_affinities"
_NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"


class ModelRejectedError(ValueError):
    """A model that the runtime cannot load, or that cannot be timed with static shapes and float inputs."""


class MissingProviderError(RuntimeError):
    """An execution provider that this build of ONNX Runtime lacks."""


def check_provider(deployment: Deployment) -> None:
    """See that the runtime has the provider of `deployment`.

    Raises:
        MissingProviderError: it has not.
    """
    available = ort.get_available_providers()
    if deployment.provider not in available:
        raise MissingProviderError(
            f"provider {deployment.provider!r} is not in ONNX Runtime {ort.__version__} here; "
            f"available: {', '.join(available)}"
        )


def session_options(deployment: Deployment, pool_cores: Sequence[int] = ()) -> ort.SessionOptions:
    """Sequential, all optimisations, no spinning, as many threads as `deployment` says.

    Spinning threads of an idle session would take cores from the one that is timed (onnxruntime issue 17011): the
    reference and the candidate each have a pool, on the same cores.

    Args:
        deployment: what to set them for.
        pool_cores: numbers of the cores for the pool's threads, one each; the calling thread is the first thread and
            not among them, so that there are ``num_threads - 1``. Empty leaves them to the system.

    Raises:
        ValueError: another number of cores.
    """
    if pool_cores and len(pool_cores) != deployment.num_threads - 1:
        raise ValueError(
            f"pool cores {list(pool_cores)} for {deployment.num_threads} threads: "
            f"{deployment.num_threads - 1} are needed, the calling thread has its own"
        )
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = deployment.num_threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = _ERRORS_ONLY
    for name in _SPINNING:
        options.add_session_config_entry(name, "0")
    if pool_cores:  # ONNX Runtime counts processors from 1; semicolons part the threads
        options.add_session_config_entry(_AFFINITIES, ";".join(str(core + 1) for core in pool_cores))
    if deployment.provider != CPU_PROVIDER:
        # The runtime would run what the provider lacks on the CPU and say nothing: a wrong number. Now loading fails.
        options.add_session_config_entry(_NO_CPU_FALLBACK, "1")
    return options


def options_text(deployment: Deployment) -> str:
    """The session options that change timing and are no field of `Deployment`, read back from what is set.

    One line, such as ``mode=ORT_SEQUENTIAL optimisation=ORT_ENABLE_ALL inter_op_threads=1 arena=1 mem_pattern=1
    intra_op_spinning=0 inter_op_spinning=0``. Equal text, equal options.
    """
    options = session_options(deployment)
    intra_spinning, inter_spinning = (options.get_session_config_entry(name) for name in _SPINNING)
    settings = {
        "mode": options.execution_mode.name,
        "optimisation": options.graph_optimization_level.name,
        "inter_op_threads": options.inter_op_num_threads,
        "arena": int(options.enable_cpu_mem_arena),
        "mem_pattern": int(options.enable_mem_pattern),
        "intra_op_spinning": intra_spinning,
        "inter_op_spinning": inter_spinning,
    }
    return " ".join(f"{name}={value}" for name, value in settings.items())


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

    Args:
        model: ONNX bytes.
        options: of its session, from `session_options`.
        provider: where it runs, and nowhere else.
        seed: of the input.

    Raises:
        ModelRejectedError: invalid model, free dimensions, inputs that are not floating-point, or operations that the
            provider lacks.
    """

    def __init__(self, model: bytes, options: ort.SessionOptions, provider: str, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        try:
            # Without enable_fallback=0 a provider that fails to start is replaced by the CPU.
            self.session = ort.InferenceSession(model, options, providers=[provider], enable_fallback=0)
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
