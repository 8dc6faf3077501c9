"""What goes into a skorch net: a target of several columns, a dataset with it, and one input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset
from skorch.helper import SliceDict
from sksurv.util import Surv
from torch import nn
from torch.utils.data import DataLoader

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    CoxPHLoss,
    WeibullAFTLoss,
    WeibullAFTRegressor,
)
from sksurvtorch.functional import breslow_baseline
from sksurvtorch.losses import CompetingRisksLoss
from sksurvtorch.nets import SurvivalNet, survival_target
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.target import PlainTarget, cox_target
from tests.cohorts import assert_close, random_cohort
from tests.contract.small_models import target_columns


@pytest.mark.parametrize("with_", [(), ("entry",), ("weight",), ("stratum",)], ids=str)
def test_a_target_has_what_was_given_and_slices(with_, whas500):
    _, y = whas500
    columns = {k: v for k, v in target_columns(y, CoxPHLoss).items() if k in with_}
    target = survival_target(y, **columns)
    assert isinstance(target, SliceDict)
    assert set(target) == {"event", "time", *with_}
    assert len(target) == len(y)
    index = np.array([5, 2, 100])
    for rows in (slice(3, 9), index, np.arange(len(y)) % 2 == 0):
        part = target[rows]
        np.testing.assert_array_equal(part["event"], y["event"][rows])
        np.testing.assert_array_equal(part["time"], y["time"][rows])
        for name in set(with_) - {"stratum"}:
            np.testing.assert_array_equal(part[name], columns[name][rows])
    if "stratum" in with_:
        labels = np.unique(columns["stratum"])
        np.testing.assert_array_equal(labels[target["stratum"]], columns["stratum"])


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint64, object])
def test_strata_that_are_integers_keep_their_numbers(dtype):
    """In another part of the data a stratum must not have the number of this one."""
    y = Surv.from_arrays([True, False, True], [1.0, 2.0, 3.0])
    target = survival_target(y, stratum=np.array([7, 3, 7], dtype=dtype))
    assert target["stratum"].tolist() == [7, 3, 7]
    assert target["stratum"].dtype == np.int64
    loss = CoxPHLoss()(torch.zeros(3), **{k: torch.as_tensor(v) for k, v in target.items()})
    assert loss.item() == pytest.approx(np.log(2) / 2)


@pytest.mark.parametrize("index", [3, -1, slice(2, 5), [4, 2], np.arange(100) < 7], ids=str)
def test_rows_of_a_dataset_are_indexed_as_a_tensor_is(index):
    X, time = torch.randn(100, 2), torch.arange(100.0)
    dataset = SurvivalDataset(as_rows(X), PlainTarget({"time": time}))
    rows = torch.arange(100)[index] if isinstance(index, slice) else torch.as_tensor(index)
    found = dataset[rows if isinstance(index, slice) else index]
    assert torch.equal(found[0], X[rows])
    assert torch.equal(found[1]["time"], time[rows])


def test_a_survival_net_takes_no_tuple():
    X, y = np.zeros((4, 2), dtype=np.float32), Surv.from_arrays([True] * 4, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(TypeError, match=r"^X must be one array or tensor, or .* got a tuple\."):
        SurvivalNet(nn.Linear(2, 1), verbose=0).fit((X, X), y)


@pytest.mark.parametrize("with_", [(), ("weight", "stratum"), ("entry",)], ids=str)
def test_a_baseline_needs_the_plan_of_the_risk_sets_only_with_late_entry(with_):
    cohort = random_cohort(0, n=60, n_times=9, with_=with_)
    target = cox_target(cohort.target, "efron", lay_out=True)
    eta = torch.linspace(-1, 1, 60, dtype=torch.float64)
    found = target.breslow_baseline(eta)
    assert ("layout" in vars(target.risk_sets)) == ("entry" in with_)
    expected = breslow_baseline(eta, risk_sets=target.risk_sets)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one.double(), other.double())


@pytest.mark.parametrize("criterion", [CoxPHLoss, WeibullAFTLoss, CompetingRisksLoss])
@pytest.mark.parametrize("as_", [np.asarray, torch.as_tensor, list], ids=lambda f: f.__name__)
def test_a_net_refuses_a_plain_array_in_the_words_of_an_estimator(criterion, as_):
    X = np.zeros((4, 2), dtype=np.float32)
    y = as_(np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 4.0], [1.0, 5.0]]))
    options = {"n_causes": 1} if criterion is CompetingRisksLoss else {}
    estimator = {
        CoxPHLoss: CoxNNRegressor,
        WeibullAFTLoss: WeibullAFTRegressor,
        CompetingRisksLoss: CompetingRisksNNRegressor,
    }[criterion]
    net = SurvivalNet(nn.Linear(2, 2), criterion(**options), verbose=0)
    said = []
    for model in (estimator(n_estimators=1), net):
        with pytest.raises(ValueError, match=r"^`y` must be a structured array") as error:
            model.fit(X, y)
        said.append(str(error.value).partition(", or of bounds")[0].rstrip("."))
    assert said[0] == said[1]
    assert said[0].startswith("`y` must be a structured array of shape (n_samples,) with two field")


def test_a_loader_of_the_users_may_get_a_plain_array():
    """Where there is no `BatchLoader`, a net is skorch's."""
    net = SurvivalNet(
        nn.Linear(2, 1),
        nn.MSELoss,
        dataset=Dataset,
        iterator_train=DataLoader,
        iterator_valid=DataLoader,
        train_split=None,
        max_epochs=1,
        verbose=0,
    )
    net.fit(np.ones((4, 2), dtype=np.float32), np.ones((4, 1), dtype=np.float32))
    assert np.isfinite(net.history[0, "train_loss"])
