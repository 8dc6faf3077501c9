"""Curves of competing risks over the steps of one stratum, of some samples at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import Log
from sksurvtorch.functional._order import nonzero

# Incidences may add up to so much more than 1 by rounding.
_ROUNDING = 1e-9
# Samples times steps that are worked on at once, so that they stay in the cache.
_AT_ONCE = 2**17


def of_subdistribution(
    eta: Tensor, log_cumulative_hazard: Tensor, at: Tensor, passed: Tensor | None
) -> Tensor:
    """Return the incidences where `at` steps have passed, given no event while `passed` did."""
    before = log_cumulative_hazard.new_full((len(log_cumulative_hazard), 1), Log.zero)
    # Rounding could let a sum over more steps be lower.
    rising = torch.cat([before, log_cumulative_hazard], 1).cummax(1).values
    log_hazard = rising[:, at] if at.ndim == 1 else rising[:, at].transpose(0, 1)
    incidence = (eta.unsqueeze(2) + log_hazard).exp_().neg_().expm1_().neg_()
    if passed is None:
        return incidence
    past = (eta + rising[:, passed].T).exp_().neg_().expm1_().neg_().unsqueeze(2)
    left = 1 - past.sum(1, keepdim=True)
    _check_sums(torch.cat([past.sum(1), incidence.sum(1)], 1))
    return incidence.sub_(past).clamp_(min=0).div_(left)


def _check_sums(total: Tensor) -> None:
    """Raise unless some are left after the first of these times, and nobody twice at any of them.

    The sums of the incidences of all causes come in the shape (n_rows, 1 + n_times).
    """
    largest = total.amax(1)
    bad = (largest > 1 + _ROUNDING) | (total[:, 0] >= 1)
    if bad.any():
        raise ValueError(
            "Incidences of subdistribution hazards must add up to less than 1 over the causes for "
            f"predictions given that there was no event, got {largest[bad][0]:.8g} "
            f"({int(bad.sum())} of {len(bad)} samples). The models of the causes do not agree "
            "there: ask for earlier times, or fit cause-specific hazards."
        )


class Steps(NamedTuple):
    """Steps of the cumulative hazards of one stratum, and the times to evaluate curves at."""

    of_causes: list[_StepsOfCause]
    at: Tensor  # (n_times,) or (n_rows, n_times), how many steps have passed
    passed: Tensor | None  # (n_rows,) how many each row has passed free of events
    n_steps: int
    log_shared: Tensor  # (n_causes, n_shared) logarithms of steps that several causes have at once

    @classmethod
    def of(cls, log_hazard: Tensor, at: Tensor, passed: Tensor | None) -> Steps:
        """Return the steps, given logarithms of shape (n_causes, n_steps)."""
        n_steps = int(at.max()) if at.numel() else 0
        logs = log_hazard[:, :n_steps]  # later ones are not asked for
        has = logs > Log.zero
        is_shared = has.sum(0) > 1
        pairs = zip(logs, has, strict=True)
        each = [_StepsOfCause.of(own, there, is_shared, at) for own, there in pairs]
        return cls(each, at, passed, n_steps, logs[:, is_shared])

    def fill(self, eta: Tensor, rows: Tensor, incidence: Tensor, survival: Tensor) -> None:
        """Fill in the curves of some rows, a few at once."""
        size = max(1, _AT_ONCE // max(1, self.n_steps))
        for piece in (slice(start, start + size) for start in range(0, len(rows), size)):
            some = rows[piece]
            own = eta.index_select(0, some).T  # sums over the first axis take less time
            hazard = own.new_zeros(self.n_steps + 1, own.shape[1])
            for of_row, steps in zip(own, self.of_causes, strict=True):
                part = (steps.log_hazard.unsqueeze(1) + of_row).exp_()
                if self.passed is not None:
                    part.masked_fill_(steps.place.unsqueeze(1) < self.passed[piece], 0.0)
                hazard.index_add_(0, steps.place + 1, part)
            left = hazard.cumsum(0).neg_().exp_()
            survival[some] = _values(left, self.at, piece)
            mass = hazard[1:].neg_().expm1_().neg_().mul_(left[:-1])
            share = (self.log_shared.unsqueeze(2) + own.unsqueeze(1)).softmax(0)
            for k, steps in enumerate(self.of_causes):
                incidence[some, k] = _values(steps.incidence(mass, share[k]), steps.at, piece)


class _StepsOfCause(NamedTuple):
    """Steps of the cumulative hazard of one cause."""

    place: Tensor  # (n_own,) among the steps of all causes
    log_hazard: Tensor  # (n_own,)
    at: Tensor  # (n_times,) or (n_rows, n_times), how many of them have passed
    shared: Tensor  # (n_own_shared,) which of them other causes have, too
    of_shared: Tensor  # (n_own_shared,) their places among all shared steps

    @classmethod
    def of(cls, log_hazard: Tensor, has: Tensor, is_shared: Tensor, at: Tensor) -> _StepsOfCause:
        """Return the steps of a cause, given where it has some, and which steps are shared."""
        place = nonzero(has)
        passed = torch.cat([has.new_zeros(1), has]).cumsum(0)[at]
        shared, of_shared = nonzero(is_shared[place]), nonzero(has[is_shared])
        return cls(place, log_hazard[place], passed, shared, of_shared)

    def incidence(self, mass: Tensor, share: Tensor) -> Tensor:
        """Return the incidence after each own step, given the mass of all, and shared ones."""
        own = mass.new_zeros(len(self.place) + 1, mass.shape[1])
        torch.index_select(mass, 0, self.place, out=own[1:])
        if len(self.shared):
            own[1 + self.shared] *= share.index_select(0, self.of_shared)
        # Rounding alone could take the sum above 1.
        return own.cumsum(0).clamp_(max=1.0)


def _values(after_steps: Tensor, at: Tensor, piece: slice) -> Tensor:
    """Return the values of some rows, (n_rows, n_times), given those after each number of steps."""
    if at.ndim == 1:
        return after_steps.index_select(0, at).T
    return after_steps.gather(0, at[piece].T).T
