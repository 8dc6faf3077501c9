"""Weights of Fine and Gray as R prints them, and a linear model as lifelines fits it.

R: survival, tests/finegray.Rout.save (R-devel of 2016-04-12). lifelines 0.30.3.
"""

import lifelines
import numpy as np
import pandas as pd
import pytest
import torch

from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from sksurvtorch.functional import fine_gray_weights
from tests import competing_twins as twins
from tests.cohorts import assert_close, value_and_gradient
from tests.competing_twins import random_risks

TIME = torch.tensor([1, 2, 3, 4, 4, 4, 5, 5, 6, 8, 8, 9, 10, 12])
STATUS = torch.tensor([1, 2, 0, 1, 0, 0, 2, 1, 0, 0, 2, 0, 1, 0])
ENTRY = torch.tensor([0, 0, 0, 3, 2, 0, 0, 1, 0, 7, 5, 0, 0, 0])


def test_the_rows_that_r_prints():
    rows = fine_gray_weights(STATUS, TIME)
    curve = np.cumprod([1, 11 / 12, 8 / 10, 5 / 6, 3 / 4, 2 / 3])
    expected = [1, 1, *curve[[1, 2, 5]], 1, 1, 1, 1, 1, 5 / 12, 1, 1, 1, 1, 1 / 2, 1, 1, 1]
    assert (rows.row + 1).tolist() == [1, *[2] * 4, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 11, 12, 13, 14]
    assert_close(rows.weight, torch.tensor(expected, dtype=torch.float64))
    is_more = torch.cat([torch.tensor([False]), rows.row.diff() == 0])
    assert rows.stop[is_more].tolist() == [4, 6, 12, 12, 12]
    # At the last event the second row with another cause counts (5 * 4 * 2) / (7 * 5 * 3) of it.
    assert curve[5] / curve[2] == pytest.approx(5 / 12)
    assert rows.event.nonzero().flatten().tolist() == [0, 6, 11, 17]


def test_late_entry_by_the_definitions_in_the_test_of_r():
    """The curves G and H as that test computes them, by sums over rows at each time."""
    time, status, entry = TIME.numpy(), STATUS.numpy(), ENTRY.numpy()
    at = np.unique(np.append(time, entry))
    inside = entry[:, None] < at
    left = ((time[:, None] > at) & (status > 0)[:, None]) & inside
    left |= ((time[:, None] >= at) & (status == 0)[:, None]) & inside
    gone = (time[:, None] == at) & (status == 0)[:, None]
    g = np.cumprod(1 - gone.sum(0) / np.maximum(1, left.sum(0)))
    risk = ((time[:, None] > at) & (entry[:, None] <= at)).sum(0)
    new = (entry[:, None] == at).sum(0)
    h = np.cumprod((1 - new / np.maximum(1, risk))[::-1])[::-1]  # of t-, since it runs back
    rows = fine_gray_weights(STATUS, TIME, entry=ENTRY)
    place = np.searchsorted(at, rows.stop.numpy())
    both = np.append(1, g)[place] * h[place]
    first = np.searchsorted(rows.row.numpy(), rows.row.numpy())
    is_other = (STATUS == 2)[rows.row]
    assert_close(rows.weight[is_other], torch.from_numpy(both / both[first])[is_other])
    assert (rows.weight[~is_other] == 1).all()
    assert torch.equal(rows.start[~is_other], ENTRY[STATUS != 2])
    assert torch.equal(rows.stop[~is_other], TIME[STATUS != 2])


@pytest.mark.parametrize(
    "with_", [(), ("weight",), ("entry",), ("stratum",), ("entry", "stratum", "weight")]
)
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_loss_is_the_weighted_cox_loss_of_the_rows(ties, with_):
    for seed in range(3):
        cohort = random_risks(seed, n=40, with_=with_, n_times=15, shares=(0.3, 0.2, 0.3, 0.2))
        eta = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed)).double()
        ours = value_and_gradient(
            competing,
            eta,
            **cohort.target,
            hazard="subdistribution",
            ties=ties,
            reduction="sum",
        )
        parts, slopes = [], []
        for cause in (1, 2, 3):
            rows = fine_gray_weights(**cohort.target, cause=cause)
            target = {"event": rows.event, "time": rows.stop, "entry": rows.start}
            if cohort.stratum is not None:
                target["stratum"] = cohort.stratum[rows.row]
            own = eta[:, cause - 1].clone().requires_grad_()
            loss = cox(own[rows.row], **target, weight=rows.weight, ties=ties, reduction="sum")
            parts.append(loss.detach())
            slopes.append(torch.autograd.grad(loss, own)[0])
        assert_close(ours[0], torch.stack(parts).sum())
        assert_close(ours[1], torch.stack(slopes, 1))


def test_pieces_have_the_weights_of_the_definition():
    cohort = random_risks(2, n=40, with_=("entry", "stratum", "weight"), n_times=15)
    rows, known = fine_gray_weights(**cohort.target), twins.Rows(**cohort.target)
    for row, start, stop, event, weight in zip(*(x.tolist() for x in rows), strict=True):
        if start >= known.time[row]:  # after an event of another cause
            assert weight == pytest.approx(
                known.weight[row] * known.extension(row, stop), rel=1e-12
            )
            assert not event
        else:
            assert weight == known.weight[row]


def test_a_linear_model_is_that_of_lifelines():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    time = np.round(rng.exponential(np.exp(-X @ [0.5, -0.3])) * 40) + 1
    status = rng.choice([0, 1, 2], 200, p=[0.25, 0.4, 0.35])
    columns = torch.from_numpy(status), torch.from_numpy(time)
    rows = fine_gray_weights(*columns)
    frame = pd.DataFrame(X[rows.row], columns=["a", "b"])
    for name, column in rows._asdict().items():
        frame[name] = column.numpy()
    fitter = lifelines.CoxTimeVaryingFitter()
    fitter.fit(
        frame,
        id_col="row",
        start_col="start",
        stop_col="stop",
        event_col="event",
        weights_col="weight",
        fit_options={"precision": 1e-9},
    )
    beta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([beta], tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    features = torch.from_numpy(X)

    def loss():
        optimizer.zero_grad()
        eta = torch.stack([features @ beta, torch.zeros(200).double()], 1)
        value = competing(eta, *columns, hazard="subdistribution")
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    np.testing.assert_allclose(beta.detach(), fitter.params_, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.float32])
def test_starts_lie_before_times_of_any_type(dtype):
    least = torch.iinfo(dtype).min if not dtype.is_floating_point else 0
    time = torch.tensor([least, least + 1, least + 2], dtype=dtype)
    rows = fine_gray_weights(torch.tensor([2, 0, 1]), time)
    assert (rows.start < rows.stop).all()
    assert int(rows.start.min()) == least - 1
    assert (
        fine_gray_weights(torch.tensor([2, 0, 1]), torch.tensor([0.5, 0.7, 0.9])).start >= 0
    ).all()
