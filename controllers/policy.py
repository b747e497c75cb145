"""Distributions over the decisions of a space: the RNN of NASNet (arXiv 1707.07012), and one of independent softmaxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

# Shapes below: B draws, T decisions, K = the most options of any decision, E = all options together + 1, H hidden units.

# Logit of the options that pad shorter decisions to K. Finite, because 0 * -inf in the entropy would be NaN.
_PADDING_LOGIT = -1e9


class Policy(Protocol):
    """What a policy gradient needs of a distribution."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is learnt."""
        ...

    def sample(self, rng: np.random.Generator, number: int) -> Tensor:
        """Draw candidates.

        Args:
            rng: consumes number * T * K numbers, whatever is drawn.
            number: B, of independent draws.

        Returns:
            Option indices, int64, shape (B, T).
        """
        ...

    def __call__(self, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Score candidates, given as option indices, int64, shape (B, T).

        Returns:
            The log-probability of each option taken and the entropy in nats of the softmax that it came from, given
            the decisions before it; both (B, T).
        """
        ...


def _padding(num_options: Sequence[int]) -> Tensor:
    """(T, K), to be added to logits: takes out the options that a decision does not have."""
    most = max(num_options)
    return torch.tensor([[0.0] * n + [_PADDING_LOGIT] * (most - n) for n in num_options], dtype=torch.float64)


def _scored(logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies, both (B, T), of logits (B, T, K)."""
    log_p = torch.log_softmax(logits, dim=-1)
    return log_p.gather(-1, taken[..., None])[..., 0], -(log_p.exp() * log_p).sum(dim=-1)


class IndependentPolicy(nn.Module):
    """One softmax per decision, uniform at the start: the controller of TuNAS (arXiv 2008.06120).

    Args:
        num_options: options of each decision, all at least 1.
    """

    def __init__(self, num_options: Sequence[int]):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(len(num_options), max(num_options), dtype=torch.float64))  # (T, K)
        self.padding = _padding(num_options)

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, number: int) -> Tensor:
        """Draw candidates; see `Policy`."""
        # argmax(logits + Gumbel noise) is a draw from the softmax.
        noise = torch.from_numpy(rng.gumbel(size=(number, *self.bias.shape)))
        return (self.bias + self.padding + noise).argmax(dim=-1)

    def forward(self, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Score candidates; see `Policy`."""
        return _scored((self.bias + self.padding).expand(len(taken), -1, -1), taken)


class AutoregressivePolicy(nn.Module):
    """A one-layer LSTM that takes the decisions in order, with one softmax head per decision.

    The input of step t is the embedding of the option taken at step t - 1; step 0 reads a start token. Everything is
    double precision: rounding may differ with the number of threads and the CPU, and a replay parts from the original
    at the first draw that rounding flips.

    Args:
        num_options: options of each decision, all at least 1.
        hidden_size: H, units of the LSTM and width of the embeddings.
        init_range: every weight starts uniform in +-init_range.
        rng: draws the initial weights.
    """

    def __init__(self, num_options: Sequence[int], hidden_size: int, init_range: float, rng: np.random.Generator):
        super().__init__()
        num_decisions, most_options = len(num_options), max(num_options)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.from_numpy(rng.uniform(-init_range, init_range, shape)))

        self.embedding = uniform(1 + sum(num_options), hidden_size)  # (E, H); row 0 is the start token
        self.head = uniform(num_decisions, hidden_size, most_options)  # (T, H, K)
        self.bias = uniform(num_decisions, most_options)  # (T, K)
        # Built on the meta device, so that torch's own initialisation cannot touch the global generator.
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True, device="meta", dtype=torch.float64)
        for name, weight in list(self.lstm.named_parameters()):
            setattr(self.lstm, name, uniform(*weight.shape))
        # The embedding of option k of decision t is row first_row[t] + k.
        self.first_row = torch.tensor([1 + sum(num_options[:t]) for t in range(num_decisions)])
        self.padding = _padding(num_options)

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, number: int) -> Tensor:
        """Draw candidates; see `Policy`."""
        # argmax(logits + Gumbel noise) is a draw from the softmax.
        noise = torch.from_numpy(rng.gumbel(size=(number, *self.bias.shape)))
        rows, state = torch.zeros(number, dtype=torch.int64), None
        taken = []
        for t, first_row in enumerate(self.first_row):
            h, state = self.lstm(self.embedding[rows][:, None], state)
            logits = h[:, 0] @ self.head[t] + self.bias[t] + self.padding[t]
            taken.append((logits + noise[:, t]).argmax(dim=-1))
            rows = first_row + taken[-1]
        return torch.stack(taken, dim=1)

    def forward(self, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Score candidates; see `Policy`."""
        rows = torch.nn.functional.pad((self.first_row + taken)[:, :-1], (1, 0))  # (B, T); starts with row 0
        h, _ = self.lstm(self.embedding[rows])  # (B, T, H)
        return _scored(torch.einsum("bth,thk->btk", h, self.head) + self.bias + self.padding, taken)
