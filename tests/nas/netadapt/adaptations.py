"""Small adaptations that tests run: a network, images that it learns in seconds, commands one after the other."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe, variant_networks
from latency.table_file import save_table
from search_spaces.arch_string import parse_arch
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, RESOLUTION, SyntheticMeter, device
from tests.nas.searching import OPEN, Program

ARCH = "stem_k3_s22_o16 r1_k3_s22_x64_i16_o24 r2_k3_s11_e3_i24_o24_se0.25 head_o64"
PLAIN = "stem_k3_s22_o16 r1_k3_s22_x64_i16_o24 r1_k3_s11_e3_i24_o24_se0.25 r1_k3_s11_e3_i24_o24_se0.25 head_o64"
"""`ARCH`, a layer a block."""
NUM_TRAIN, NUM_TEST, NUM_HELD_OUT = 400, 100, 80
COMMON = ("--epochs", "2", "--steps", "9", "--batch-size", "16", "--schedule", "0.08L", "--resolution", "32")

PATIENCE_S = 900.0  # gives up waiting; asserts nothing

_IN_TURN = """
import json, sys
from nas.cli import main
for prelude, arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    status = 0
    exec(prelude)
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    print(f"exit status {status}", flush=True)
"""


def images(path: Path, num_classes: int = NUM_CLASSES, seed: int = 0, num_train: int = NUM_TRAIN) -> Path:
    """A data set of 8 x 8 pixels: each class has its own pattern of coloured squares, in noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(1).integers(0, 200, (num_classes, 4, 4, 3)).repeat(2, 1).repeat(2, 2)
    arrays = {}
    for part, number in (("train", num_train), ("test", NUM_TEST)):
        labels = np.arange(number) % num_classes
        arrays[f"x_{part}"] = (patterns[labels] + rng.integers(0, 55, (number, 8, 8, 3))).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    np.savez(path, **arrays)
    return path


def in_turn(*commands: tuple[str, tuple[object, ...]]) -> list[tuple[int, str]]:
    """`nas` commands in one process, as `tests.nas.searching.in_turn`; Python before each runs first and stays in force."""
    texts = json.dumps([(prelude, list(map(str, arguments))) for prelude, arguments in commands])
    program = Program(sys.executable, "-c", _IN_TURN, texts, variables=OPEN | {"OMP_NUM_THREADS": "1"})
    try:
        output, _ = program.process.communicate(timeout=PATIENCE_S)
        program.wait_until_gone()
        assert program.processes() == []
    finally:
        program.kill_everything()
    assert program.process.returncode == 0, output
    assert "Traceback" not in output
    pieces = re.split(r"^exit status (\d+)\n", output, flags=re.MULTILINE)
    return [(int(code), text) for text, code in zip(pieces[::2], pieces[1::2], strict=False)]


def synthetic_table(file: Path) -> Path:
    """Of the narrower variants of `ARCH`, the corners among them, on a device whose times are a formula."""
    meter = SyntheticMeter()
    model = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES).model(REFERENCE)
    metered = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=Reference(model, 5.0))
    variants = islice(variant_networks(parse_arch(ARCH), 0, 1), 20)
    table = fit_table(
        [observe(metered, variant, NUM_CLASSES) for variant in variants],
        device=device(),
        population=f"variants of {ARCH}",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=5.0,
    )
    assert table.resolution == RESOLUTION
    save_table(table, file)
    return file


def steps_of(folder: Path) -> list[dict[str, object]]:
    """Of a run, or of its ``random``; how long they took left out."""
    lines = (folder / "steps.jsonl").read_text().splitlines()[1:]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def files_of(folder: Path) -> dict[str, bytes]:
    """Whatever is below it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
