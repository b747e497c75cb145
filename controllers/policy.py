"""An autoregressive distribution over the decisions of a space: the RNN of NASNet (arXiv 1707.07012)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

# Shapes below: B draws, T decisions, K = the most options of any decision, E = all options together + 1, H hidden units.

# Logit of the options that pad shorter decisions to K. Finite, because 0 * -inf in the entropy would be NaN.
_PADDING_LOGIT = -1e9


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
        self.padding = torch.tensor(
            [[0.0] * n + [_PADDING_LOGIT] * (most_options - n) for n in num_options], dtype=torch.float64
        )

    @torch.no_grad()
    def sample(self, rng: np.random.Generator) -> tuple[list[int], Tensor]:
        """Draw one candidate.

        Args:
            rng: consumes T * K numbers, whatever is drawn.

        Returns:
            The T option indices, and their log-probabilities, shape (T,).
        """
        # argmax(logits + Gumbel noise) is a draw from the softmax.
        noise = torch.from_numpy(rng.gumbel(size=self.bias.shape))
        rows = self.first_row.tolist()
        row, state = 0, None
        taken, log_probs = [], []
        for t in range(len(rows)):
            h, state = self.lstm(self.embedding[row].view(1, 1, -1), state)
            logits = h.view(-1) @ self.head[t] + self.bias[t] + self.padding[t]
            option = int((logits + noise[t]).argmax())
            taken.append(option)
            log_probs.append(torch.log_softmax(logits, dim=0)[option])
            row = rows[t] + option
        return taken, torch.stack(log_probs)

    def forward(self, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Score given candidates.

        Args:
            taken: option indices, int64, shape (B, T).

        Returns:
            The log-probability of each option taken and the entropy in nats of the softmax that it came from, given
            the decisions before it; both (B, T).
        """
        rows = torch.nn.functional.pad((self.first_row + taken)[:, :-1], (1, 0))  # (B, T); starts with row 0
        h, _ = self.lstm(self.embedding[rows])  # (B, T, H)
        logits = torch.einsum("bth,thk->btk", h, self.head) + self.bias + self.padding
        log_p = torch.log_softmax(logits, dim=-1)
        log_probs = log_p.gather(-1, taken[..., None])[..., 0]
        return log_probs, -(log_p.exp() * log_p).sum(dim=-1)
