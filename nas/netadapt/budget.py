"""Budgets: the most that an adapted network may take of one resource, or of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nas.errors import UserError
from nas.netadapt.cost import CostModel, Resource, latency_cost, mac_cost, param_cost
from nas.netadapt.proposal import Cost
from nas.netadapt.schedule import Amount
from search_spaces.arch import ArchSpec

_RESOURCES: tuple[Resource, ...] = get_args(Resource)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most of a resource.

    Attributes:
        resource: which.
        amount: how much; ``L`` is what the seed takes of that resource.
    """

    resource: Resource
    amount: Amount

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``latency=0.7L``, ``latency=3.0ms``, ``macs=0.5L``, ``params=3e6``.

        Raises:
            UserError: anything else.
        """
        name, equals, amount = text.partition("=")
        if not equals:
            raise UserError(f"--budget {text!r}: must be a resource and an amount, as latency=0.7L or params=3e6")
        resource = next((known for known in _RESOURCES if known == name.strip()), None)
        if resource is None:
            raise UserError(f"--budget {text!r}: unknown resource {name.strip()!r}; known: {', '.join(_RESOURCES)}")
        absolute: Literal["ms", ""] = "ms" if resource == "latency" else ""
        return cls(resource, Amount.parse(amount, f"--budget {resource}", absolute))

    def __str__(self) -> str:
        return f"{self.resource}={self.amount}"


def parse_budgets(texts: Sequence[str]) -> tuple[Budget, ...]:
    """All that are given, in their order.

    Raises:
        UserError: one is no budget, or a resource has two.
    """
    budgets: dict[Resource, Budget] = {}
    for budget in map(Budget.parse, texts):
        if (other := budgets.setdefault(budget.resource, budget)) is not budget:
            raise UserError(f"--budget {other} and {budget}: {budget.resource} twice; give one budget a resource")
    return tuple(budgets.values())


@dataclass(frozen=True, slots=True)
class Goal:
    """What is reduced, and how far.

    Attributes:
        model: the cost.
        target: cost to come down to.
        option: what asked for it, as the user may have written it: it begins messages.
    """

    model: CostModel
    target: Amount
    option: str

    @classmethod
    def of(
        cls,
        budgets: Sequence[Budget],
        seed: ArchSpec,
        resolution: int,
        num_classes: int,
        *,
        price_ms: Cost | None = None,
        seed_latency_ms: float | None = None,
    ) -> Goal:
        """To keep `budgets`: of a single one the cost is that resource; of several, the largest share of its budget.

        Args:
            budgets: at least one, each of another resource.
            seed: the network that the adaptation begins with: what its L is of.
            resolution: side of the input in pixels, at which operations are counted.
            num_classes: outputs of the classifier, likewise.
            price_ms: prices of networks in milliseconds, if there are any.
            seed_latency_ms: measured latency of the seed, for its L; None is as priced.

        Raises:
            UserError: a budget of latency without prices.
        """
        models = [_model(budget, resolution, num_classes, price_ms) for budget in budgets]
        option = " ".join(f"--budget {budget}" for budget in budgets)
        if len(models) == 1:
            return cls(models[0], budgets[0].amount, option)
        amounts = {resource: cost for model in models for resource, cost in model.amounts.items()}
        seed_amounts = {resource: cost(seed) for resource, cost in amounts.items()}
        if seed_latency_ms is not None and "latency" in seed_amounts:
            seed_amounts["latency"] = seed_latency_ms
        most = {budget.resource: budget.amount.of(seed_amounts[budget.resource]) for budget in budgets}
        return cls(CostModel(amounts, most), Amount(1.0, ""), option)


def _model(budget: Budget, resolution: int, num_classes: int, price_ms: Cost | None) -> CostModel:
    """The cost of the budget's resource alone."""
    match budget.resource:
        case "macs":
            return mac_cost(resolution, num_classes)
        case "params":
            return param_cost(resolution, num_classes)
        case "latency":
            if price_ms is None:
                raise UserError(
                    f"--budget {budget}: latency has to be priced; give --table FILE, "
                    "or build one with: nas latency table build --arch ARCH --out FILE"
                )
            return latency_cost(price_ms)
