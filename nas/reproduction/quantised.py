"""What becomes of accuracy and latency when a trained network is quantised: static int8, calibrated with training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from latency.latency import Latency
from latency.meter import GRADES
from latency.meter_process import MeasuringError
from latency.metered import MeteredLatency
from nas.errors import UserError
from nas.images import Images
from nas.int8_model import num_right, quantised
from nas.netadapt.measured_cost import trusted_latency
from nas.network import resolve_network
from nas.opened_meter import opened_meter
from nas.reproduction.int8_figures import Int8Figures
from nas.reproduction.reproduce_run import ReproduceRun
from search_spaces.arch import ArchSpec
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx, given_weights
from search_spaces.torch_module import build_module, folded_weights


def int8_figures(
    run: ReproduceRun, networks: Mapping[str, ArchSpec], images: Images, weights: Path
) -> dict[str, Int8Figures]:
    """Accuracy and latency of each network, quantised.

    Args:
        run: says how they are deployed.
        networks: name -> network.
        images: calibrate and test.
        weights: folder of ``NAME.safetensors``.

    Raises:
        UserError: a network cannot be measured.
    """
    latencies = _latencies(run, networks)
    return {
        name: Int8Figures(
            num_right(int8_model(arch, weights / f"{name}.safetensors", images), images.test), latencies[name]
        )
        for name, arch in networks.items()
    }


def int8_model(arch: ArchSpec, weights: Path, images: Images) -> bytes:
    """A trained network as an int8 ONNX model for images of the training resolution, one at a time."""
    resolution = images.training.images.shape[-1]
    module = build_module(lower(arch, resolution, images.dataset.num_classes), seed=0)
    module.load_state_dict(load_file(weights), strict=False)  # heads that exist in training only are left out
    model = emit_onnx(module.graph, given_weights(folded_weights(module.eval())))
    return quantised(model, images.training)


def _latencies(run: ReproduceRun, networks: Mapping[str, ArchSpec]) -> dict[str, Latency]:
    section = run.config.search.latency
    deployment = replace(section.deployment, dtype="int8")
    try:
        with opened_meter(section, deployment) as meter:
            metered = MeteredLatency(meter, resolve_network(section.reference), num_classes=section.num_outputs)
            return {name: trusted_latency(metered, arch, GRADES["final"]) for name, arch in networks.items()}
    except MeasuringError as error:
        raise UserError(f"measuring int8 failed: {error}; go on with nas reproduce --resume {run.folder}") from None
