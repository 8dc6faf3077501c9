"""Slow and plain twins for competing risks: loops over rows, after the definitions.

Prentice and others (1978), doi:10.2307/2530374, for cause-specific hazards; Fine and Gray (1999),
doi:10.1080/01621459.1999.10474144, and Geskus (2011), doi:10.1111/j.1541-0420.2010.01420.x, for the
weights of the subdistribution. At one time events come before censorings, these before entries.
"""

import dataclasses
import math

import numpy as np
import torch
from hypothesis import strategies as st

from tests.twins import reduced


@dataclasses.dataclass(frozen=True)
class RiskCohort:
    """Rows with the cause of each event and a log hazard ratio for each cause."""

    log_hazard_ratio: torch.Tensor
    status: torch.Tensor
    time: torch.Tensor
    entry: torch.Tensor | None = None
    stratum: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    def __len__(self):
        return len(self.status)

    @property
    def n_causes(self):
        return self.log_hazard_ratio.shape[1]

    @property
    def target(self):
        """Everything but the log hazard ratios, by name."""
        fields = [field.name for field in dataclasses.fields(self)][1:]
        return {name: getattr(self, name) for name in fields}

    def but(self, **changes):
        """The same rows with some columns changed."""
        return dataclasses.replace(self, **changes)

    def rows(self, index):
        """These rows, in the order of the index."""
        columns = {"log_hazard_ratio": self.log_hazard_ratio, **self.target}
        return RiskCohort(**{k: None if v is None else v[index] for k, v in columns.items()})


def random_risks(
    seed, *, n=30, n_causes=2, with_=(), spread=1.0, n_times=6, shares=(0.2, 0.3, 0.5)
):
    """Heavy ties, within a cause, between causes, with censorings and with entries.

    `shares` are those of censorings and of the causes. Someone is at risk from the start to the
    end in each stratum, so that late entry leaves no gap.
    """
    rng = np.random.default_rng(seed)
    time = rng.integers(1, n_times + 1, n).astype(float)
    status = rng.choice(len(shares), n, p=shares)
    entry = None
    if "entry" in with_:
        entry = np.floor(rng.random(n) * time)
        entry[:6], time[:6] = 0.0, n_times
    stratum = rng.choice([7, -3, 100], n) if "stratum" in with_ else None
    if stratum is not None:
        stratum[:6] = np.repeat([7, -3, 100], 2)
    weight = rng.choice([0.0, 1e-3, 0.5, 1.0, 2.0, 10.0], n) if "weight" in with_ else None
    if weight is not None:
        weight[:6] = 1.0
    status[6] = 1
    if weight is not None:
        weight[6] = 2.0
    columns = [rng.normal(0.0, spread, (n, n_causes)), status, time, entry, stratum, weight]
    cohort = RiskCohort(*(None if x is None else torch.as_tensor(x) for x in columns))
    return cohort.rows(torch.as_tensor(rng.permutation(n)))


@st.composite
def risk_cohorts(draw, *, n_causes=None, entry=False, stratum=None, weight=None, spread=4.0):
    """Cohorts with at least one event; a column is there if True, drawn if None."""
    n = draw(st.integers(2, 12))
    n_causes = draw(st.integers(1, 3)) if n_causes is None else n_causes

    def column(elements, n=n):
        return draw(st.lists(elements, min_size=n, max_size=n))

    def is_there(choice):
        return draw(st.booleans()) if choice is None else choice

    def double(numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    status = column(st.integers(0, n_causes))
    status[draw(st.integers(0, n - 1))] = draw(st.integers(1, n_causes))
    time = column(st.integers(1, 5))
    eighths = int(spread * 8)
    return RiskCohort(
        double(column(st.integers(-eighths, eighths), n * n_causes)).view(n, n_causes) / 8,
        torch.tensor(status),
        double(time),
        double([draw(st.integers(-1, t - 1)) for t in time]) if is_there(entry) else None,
        torch.tensor(column(st.sampled_from([4, -2, 9]))) if is_there(stratum) else None,
        double(column(st.sampled_from([0.25, 1.0, 1.5, 3.0]))) if is_there(weight) else None,
    )


class Rows:
    """Columns as lists of numbers, and the weights of rows after their event."""

    def __init__(self, status, time, entry=None, stratum=None, weight=None):
        n = len(status)
        self.status, self.time = status.tolist(), time.tolist()
        self.entry = [-math.inf] * n if entry is None else entry.tolist()
        self.stratum = [0] * n if stratum is None else stratum.tolist()
        self.weight = [1.0] * n if weight is None else weight.tolist()
        self.has_entry = entry is not None
        self.all = range(n)

    def same(self, row):
        return [j for j in self.all if self.stratum[j] == self.stratum[row] and self.weight[j] > 0]

    def _sum(self, rows):
        return math.fsum(self.weight[j] for j in rows)

    def extension(self, row, t):
        """G(t-) H(t-) / (G(T-) H(T-)) of a row with an event at T < t."""
        same, start = self.same(row), self.time[row]
        value = 1.0
        for c in sorted({self.time[j] for j in same if self.status[j] == 0}):
            if start <= c < t:
                at_risk = [
                    j
                    for j in same
                    if self.entry[j] < c
                    and (self.time[j] > c or (self.time[j] == c and self.status[j] == 0))
                ]
                gone = [j for j in at_risk if self.time[j] == c]
                value *= 1.0 - self._sum(gone) / self._sum(at_risk)
        for u in sorted({self.entry[j] for j in same}) if self.has_entry else ():
            if start <= u < t:
                at_risk = [j for j in same if self.entry[j] <= u < self.time[j]]
                new = [j for j in at_risk if self.entry[j] == u]
                value /= 1.0 - self._sum(new) / self._sum(at_risk)
        return value

    def at_risk(self, row, cause, hazard):
        """By row, the weight of all at risk of the event of `row`."""
        t, weights = self.time[row], {}
        for j in self.same(row):
            if self.entry[j] < t <= self.time[j]:
                weights[j] = self.weight[j]
            elif (
                hazard == "subdistribution"
                and self.time[j] < t
                and self.status[j] not in (0, cause)
            ):
                weights[j] = self.weight[j] * self.extension(j, t)
        return weights


def losses(
    log_hazard_ratio,
    status,
    time,
    *,
    entry=None,
    stratum=None,
    weight=None,
    ties="efron",
    hazard="cause-specific",
):
    """Loss of each row; autograd goes through it."""
    rows = Rows(status, time, entry, stratum, weight)
    found = []
    for row in rows.all:
        cause = rows.status[row]
        loss = 0.0 * log_hazard_ratio[row].sum()
        if cause > 0 and rows.weight[row] > 0:
            eta = log_hazard_ratio[:, cause - 1]
            tied = [
                j
                for j in rows.same(row)
                if rows.status[j] == cause and rows.time[j] == rows.time[row]
            ]
            weights = rows.at_risk(row, cause, hazard)
            logs = []
            for step in range(len(tied)):
                fraction = step / len(tied) if ties == "efron" else 0.0
                own = {j: w * (1.0 - fraction if j in tied else 1.0) for j, w in weights.items()}
                own = {j: w for j, w in own.items() if w > 0}
                logs.append(torch.logsumexp(eta[list(own)] + _double(own.values()).log(), 0))
            loss = rows.weight[row] * (sum(logs) / len(logs) - eta[row])
        found.append(loss)
    return torch.stack(found)


def loss(log_hazard_ratio, status, time, *, weight=None, reduction="mean", **options):
    """The loss in float64; autograd goes through it."""
    each = losses(log_hazard_ratio, status, time, weight=weight, **options)
    return reduced(each, status > 0, weight, reduction)


def _double(numbers):
    return torch.tensor([float(x) for x in numbers], dtype=torch.float64)
