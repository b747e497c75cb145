"""The card of an exported network: what it is, what it is worth, how it is run, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nas.exportable import Exportable
from nas.model_figures import ModelFigures
from search_spaces.count import count
from search_spaces.lower import lower

CARD = "README.md"

RUNS_IT = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{model}", providers=["CPUExecutionProvider"])
about, side = session.get_modelmeta().custom_metadata_map, session.get_inputs()[0].shape[-1]
square = ImageOps.fit(Image.open("photo.png").convert("RGB"), (side, side), Image.Resampling.BILINEAR)
image = (np.asarray(square, np.float32) / 255 - json.loads(about["mean"])) / json.loads(about["std"])
logits = session.run(None, {{"input": image.transpose(2, 0, 1)[None].astype(np.float32)}})[0][0]
print(json.loads(about["classes"])[int(logits.argmax())])
"""
"""NumPy, Pillow and ONNX Runtime are all that it needs. Of a photo it takes the square in the centre, as training does."""


def card_text(found: Exportable, figures: Mapping[str, ModelFigures], difference: float) -> str:
    """The card.

    Args:
        found: what was exported.
        figures: ONNX file -> what it is worth.
        difference: between ONNX Runtime and torch, relative to the largest logit.
    """
    num_classes = found.module.graph.ops[-1].shape[0]
    costs = count(lower(found.arch, found.resolution, num_classes))
    classes = ", ".join(json.loads(found.metadata["classes"])) if "classes" in found.metadata else str(num_classes)
    facts = {
        "network": f"`{found.arch}`",
        "parameters": f"{costs.params:,}",
        "multiply-adds": f"{costs.macs:,} at {found.resolution} px",
        "input": f"1 x 3 x {found.resolution} x {found.resolution}, {found.metadata.get('input', 'float32')}",
        "classes": classes,
        "weights": found.origin,
        "parity": f"model.onnx differs from torch by {difference:.1g} of the largest logit",
    }
    lines = [f"# {found.name}", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]
    if any(value.metadata() for value in figures.values()):
        lines += ["", "| file | test accuracy | agrees with float32 | latency, 95 % interval |", "|---|---|---|---|"]
        lines += [_row(name, value) for name, value in figures.items()]
    devices = {value.device for value in figures.values() if value.device}
    lines += ["", *(f"Latency of one image on {device}, in five processes." for device in devices)]
    if "classes" in found.metadata:
        lines += ["", "```python", *RUNS_IT.format(model=list(figures)[-1]).splitlines(), "```"]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, figures: ModelFigures) -> str:
    accuracy = "-" if figures.accuracy is None else f"{figures.accuracy:.2%} of {figures.num_test}"
    agreement = "-" if figures.agreement is None else f"{figures.agreement:.2%}"
    if figures.latency is None:
        return f"| {name} | {accuracy} | {agreement} | - |"
    low, high = figures.latency.interval_ms
    trust = "" if figures.latency.status == "ok" else f", {figures.latency.status}"
    return (
        f"| {name} | {accuracy} | {agreement} | {figures.latency.latency_ms:.3f} ms ({low:.3f} to {high:.3f}{trust}) |"
    )
