from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.controller import Outcome
from controllers.ledger import Ledger
from search_spaces.choice import Choice

CHOICES = (Choice("a", ("x", "y")), Choice("b", (1, 2, 3)))


@given(order=st.permutations(range(8)))
def test_what_is_told_comes_out_in_the_order_of_the_asks(order: list[int]) -> None:
    ledger = Ledger(CHOICES)
    asked = [ledger.ask([i % 2, i % 3]) for i in range(8)]
    out: list[int] = []
    for position, i in enumerate(order):
        due = ledger.tell(asked[i], Outcome(reward=float(i)))
        assert all(told.candidate == (told.id % 2, told.id % 3) and told.outcome.reward == told.id for told in due)
        out += [told.id for told in due]
        told_so_far = set(order[: position + 1])
        assert out == list(range(next(n for n in range(9) if n not in told_so_far)))  # as far as there is no gap
