"""Data sets for the tests of the likelihoods, and how results are compared."""

import dataclasses

import numpy as np
import torch
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Rows of survival data with a log hazard ratio each."""

    log_hazard_ratio: torch.Tensor
    event: torch.Tensor
    time: torch.Tensor
    entry: torch.Tensor | None = None
    stratum: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    def __len__(self):
        return len(self.event)

    @property
    def target(self):
        """Everything but the log hazard ratio, by name."""
        fields = [field.name for field in dataclasses.fields(self)][1:]
        return {name: getattr(self, name) for name in fields}

    def but(self, **changes):
        """The same rows with some columns changed."""
        return dataclasses.replace(self, **changes)

    def rows(self, index):
        """These rows, in the order of the index."""
        columns = {"log_hazard_ratio": self.log_hazard_ratio, **self.target}
        return Cohort(**{k: None if v is None else v[index] for k, v in columns.items()})

    def with_row(self, log_hazard_ratio, event, time, **others):
        """One more row at the end."""
        new = {"log_hazard_ratio": log_hazard_ratio, "event": event, "time": time, **others}
        columns = {"log_hazard_ratio": self.log_hazard_ratio, **self.target}
        return Cohort(
            **{
                k: None if v is None else torch.cat([v, torch.tensor([new[k]]).to(v)])
                for k, v in columns.items()
            }
        )


def random_cohort(seed, *, n=30, with_=(), spread=1.0, n_times=6):
    """Heavy ties, events tied with censorings and with entries; `with_` names the extra columns.

    'entry' is delayed entry, 'start_stop' cuts each subject's time into rows (entry, time] of which
    only the last may hold the event.
    """
    rng = np.random.default_rng(seed)
    time = rng.integers(1, n_times + 1, n).astype(float)
    event = rng.random(n) < 0.6
    entry = None
    if "entry" in with_:
        entry = np.floor(rng.random(n) * time)
    if "start_stop" in with_:
        cuts = [np.flatnonzero(rng.random(int(t) - 1) < 0.5) + 1.0 for t in time]
        ends = [np.append(cut, t) for cut, t in zip(cuts, time, strict=True)]
        event = np.concatenate(
            [np.append(np.zeros(len(cut), bool), e) for cut, e in zip(cuts, event, strict=True)]
        )
        entry = np.concatenate([np.append(0.0, end[:-1]) for end in ends])
        time = np.concatenate(ends)
    n = len(time)
    stratum = rng.choice([7, -3, 100], n) if "stratum" in with_ else None
    weight = None
    if "weight" in with_:
        weight = rng.choice([0.0, 1e-3, 0.5, 1.0, 2.0, 10.0], n)
        weight[np.flatnonzero(event)[0]] = 1.0
    columns = [rng.normal(0.0, spread, n), event, time, entry, stratum, weight]
    cohort = Cohort(*(None if x is None else torch.as_tensor(x) for x in columns))
    return cohort.rows(torch.as_tensor(rng.permutation(n)))


@st.composite
def cohorts(draw, *, entry=None, stratum=None, weight=None, ties=True, min_size=1, spread=4.0):
    """Cohorts with at least one event; a column is there if True, absent if False, drawn if None.

    Times are whole numbers, so that they tie; all values are exact in float32.
    """
    n = draw(st.integers(min_size, 12))

    def column(elements, *, unique=False):
        return draw(st.lists(elements, min_size=n, max_size=n, unique=unique))

    def is_there(choice):
        return draw(st.booleans()) if choice is None else choice

    time = column(st.integers(1, 5 if ties else 1000), unique=not ties)
    event = column(st.booleans())
    event[draw(st.integers(0, n - 1))] = True
    eighths = int(spread * 8)
    return Cohort(
        _double(column(st.integers(-eighths, eighths))) / 8,
        torch.tensor(event),
        _double(time),
        _double([draw(st.integers(-1, t - 1)) for t in time]) if is_there(entry) else None,
        torch.tensor(column(st.sampled_from([4, -2, 9]))) if is_there(stratum) else None,
        _double(column(st.sampled_from([0.25, 1.0, 1.5, 3.0]))) if is_there(weight) else None,
    )


def _double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def value_and_gradient(function, at, *args, cotangent=None, **options):
    """A function's value at a tensor and its gradient there (of the product with `cotangent`)."""
    at = at.detach().clone().requires_grad_()
    value = function(at, *args, **options)
    (gradient,) = torch.autograd.grad(value, at, cotangent)
    return value.detach(), gradient


def assert_close(actual, expected, tolerance=1e-12):
    """Equal up to `tolerance`, relative to the largest expected magnitude or to one."""
    expected = torch.as_tensor(expected)
    actual = torch.as_tensor(actual)
    assert actual.shape == expected.shape
    bound = tolerance * max(1.0, expected.double().abs().max().item() if expected.numel() else 1.0)
    error = (actual.double() - expected.double()).abs()
    # NaN is not below any bound.
    assert (error <= bound).all(), f"off by {error.max().item():.3g}, allowed are {bound:.3g}"
