"""What a table of networks is as a benchmark: a small YAML file, of which some are shipped and recognised by their columns."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field

from nas.arch_table import read_frame
from nas.config import Config, load_config
from nas.errors import UserError
from nas.objective import Objective
from nas.section import Positive, Section
from nas.strict_yaml import read_mapping, validated


class PowerSection(Section):
    """MnasNet's objective, in numbers."""

    target_ms: float = Field(gt=0)
    alpha: float = Field(-0.07, le=0)
    beta: float = Field(-0.07, le=0)

    @property
    def objective(self) -> Objective:
        """The objective."""
        return Objective(target_ms=self.target_ms, alpha=self.alpha, beta=self.beta)


class SurrogateDescription(Section):
    """Surrogates stand in for the networks that nobody trained."""

    kind: Literal["surrogate"]
    name: str
    source: str
    recipe: str = Field(description="whose space and evaluator name the table's columns")
    latency: str = Field(description="column of milliseconds")
    objective: PowerSection

    @property
    def config(self) -> Config:
        """The recipe."""
        return load_config(self.recipe)

    @property
    def columns(self) -> list[str]:
        """That a table must have."""
        evaluator = self.config.evaluator
        return [*evaluator.columns, *([evaluator.target] if evaluator.target else []), self.latency]


class TableDescription(Section):
    """Every network of the space was trained."""

    kind: Literal["table"]
    name: str
    source: str
    digits: str = Field(description="column of strings, a character for each decision")
    decisions: Positive
    options: list[str] = Field(min_length=2)
    accuracies: list[str] = Field(min_length=1, description="columns, of which the mean is taken")
    scale: float = Field(1.0, gt=0, description="what makes fractions of them; 0.01 for percent")

    @property
    def columns(self) -> list[str]:
        """That a table must have."""
        return [self.digits, *self.accuracies]


Description = SurrogateDescription | TableDescription
_KINDS: dict[str, type[SurrogateDescription] | type[TableDescription]] = {
    "surrogate": SurrogateDescription,
    "table": TableDescription,
}


def read_description(path: Path) -> Description:
    """The description in a file.

    Raises:
        UserError: there is no such file, or it does not describe a benchmark.
    """
    try:
        document = read_mapping(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(f"{path}: kind = {kind!r}: allowed: {', '.join(_KINDS)}")
    return validated(_KINDS[kind], document, str(path))


def shipped_descriptions() -> list[Description]:
    """Those that come with the program."""
    folder = Path(str(resources.files("experiments"))) / "tables"
    return [read_description(path) for path in sorted(folder.glob("*.yaml"))]


def recognised(table: Path) -> Description:
    """The shipped description whose columns a table has.

    Raises:
        UserError: the table cannot be read, or is of none of them.
    """
    has, known = set(read_frame(table).columns), shipped_descriptions()
    for description in known:
        if has.issuperset(description.columns):
            return description
    wanted = "; ".join(f"{d.name} ({', '.join(d.columns[:3])}, ...)" for d in known)
    raise UserError(
        f"--benchmark {str(table)!r}: its columns are of no known benchmark: {wanted}; describe yours: --description FILE.yaml"
    )
