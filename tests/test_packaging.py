"""What a user installs: one source tree, recipes inside the wheel."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nas", "search_spaces", "latency", "controllers", "experiments")


def test_all_packages_lie_in_one_tree() -> None:
    """A foreign distribution with a package of the same name would win silently."""
    homes = {Path(str(importlib.import_module(name).__file__)).resolve().parents[1] for name in PACKAGES}
    assert len(homes) == 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_packages_and_recipes_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    assert {"experiments/mnas_large.yaml", "experiments/tables/accel_nasbench.yaml"} <= set(names)
    assert "nas/py.typed" in names
    assert "nas/devices/server.py" in names


def test_recipes_load_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import nas.config, experiments; "
        "print(nas.config.__file__, experiments.__file__, nas.config.load_config('mnas_large.yaml').objective.alpha)"
    )
    output = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=empty, check=True, capture_output=True, text=True
    ).stdout
    module, recipes, alpha = output.split()
    assert Path(module).is_relative_to(installed)
    assert Path(recipes).is_relative_to(installed)
    assert float(alpha) == -0.07
