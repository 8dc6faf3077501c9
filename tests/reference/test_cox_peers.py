"""Equal to torchsurv 0.2.0, scikit-survival 0.28 and lifelines 0.30 wherever these are right."""

import lifelines
import lifelines.datasets
import numpy as np
import pytest
import torch
import torchsurv.loss.cox
import torchsurv.loss.weibull
from sksurv.datasets import load_veterans_lung_cancer, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sksurvtorch.functional import (
    breslow_baseline,
    weibull_log_hazard,
    weibull_neg_log_likelihood,
    weibull_survival,
)
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests.cohorts import assert_close, random_cohort, value_and_gradient


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64).copy())


def without_censorings_at_event_times(cohort):
    """Where no events tie torchsurv goes by sort order: a tied censoring may not be at risk."""
    return cohort.but(time=cohort.time + 0.5 * ~cohort.event)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("with_", [(), ("stratum",)], ids=["-", "stratum"])
@pytest.mark.filterwarnings("ignore:Ties in `time` detected")
def test_torchsurv_sum_and_gradient(with_, ties):
    for seed in range(5):
        cohort = without_censorings_at_event_times(random_cohort(seed, with_=with_))
        # torchsurv casts its input to float32.
        single = cohort.but(
            log_hazard_ratio=cohort.log_hazard_ratio.float(), time=cohort.time.float()
        )
        ours = value_and_gradient(
            cox, single.log_hazard_ratio, **single.target, ties=ties, reduction="sum"
        )
        theirs = value_and_gradient(
            torchsurv.loss.cox.neg_partial_log_likelihood,
            single.log_hazard_ratio,
            single.event,
            single.time,
            ties_method=ties,
            reduction="sum",
            strata=single.stratum,
        )
        assert_close(ours[0], theirs[0], 1e-6)
        assert_close(ours[1], theirs[1], 1e-5)


def test_torchsurv_mean_is_ours_without_ties():
    """With ties torchsurv divides by the number of distinct event times."""
    cohort = random_cohort(0, n_times=10**6)
    assert len(cohort.time.unique()) == len(cohort)
    theirs = torchsurv.loss.cox.neg_partial_log_likelihood(
        cohort.log_hazard_ratio.float(), cohort.event, cohort.time.float()
    )
    assert_close(cox(cohort.log_hazard_ratio.float(), **cohort.target), theirs, 1e-6)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("load", [load_veterans_lung_cancer, load_whas500])
def test_scikit_survival_fits_stand_at_our_minimum(load, ties):
    frame, y = load()
    x = tensor(frame.select_dtypes("number"))
    x = (x - x.mean(0)) / x.std(0)
    event_name, time_name = y.dtype.names
    model = CoxPHSurvivalAnalysis(ties=ties, tol=1e-14).fit(x.numpy(), y)
    target = {"event": torch.tensor(y[event_name].copy()), "time": tensor(y[time_name])}
    log_hazard_ratio = x @ tensor(model.coef_)
    _, gradient = value_and_gradient(cox, log_hazard_ratio, **target, ties=ties, reduction="sum")
    # Newton's method stops when the step is small, not the gradient.
    assert_close(x.T @ gradient, torch.zeros(x.shape[1]).double(), 1e-6)
    other = {"efron": "breslow", "breslow": "efron"}[ties]
    _, gradient = value_and_gradient(cox, log_hazard_ratio, **target, ties=other, reduction="sum")
    assert (x.T @ gradient).abs().max() > 1e-3


def test_scikit_survival_cumulative_baseline_hazard():
    frame, y = load_veterans_lung_cancer()
    x = frame.select_dtypes("number").to_numpy(float)
    model = CoxPHSurvivalAnalysis(ties="breslow").fit(x, y)
    theirs = model.cum_baseline_hazard_
    ours = breslow_baseline(
        tensor(model.predict(x)),
        torch.tensor(y["Status"].copy()),
        tensor(y["Survival_in_days"]),
    )
    expected = torch.as_tensor(theirs(ours.times.numpy()))
    assert_close(ours.log_cumulative_hazard.exp(), expected)
    assert set(ours.times.tolist()) == set(y["Survival_in_days"][y["Status"]].tolist())


def rossi():
    """Rossi's data with an entry that ties with event times, strata and weights made up."""
    frame = lifelines.datasets.load_rossi()
    rng = np.random.default_rng(0)
    frame["entry"] = np.floor(rng.random(len(frame)) * frame["week"] * 0.7)
    frame["weight"] = rng.choice([0.5, 1.0, 2.0, 3.5], len(frame))
    return frame


@pytest.mark.parametrize(
    "columns",
    [
        (),
        ("strata",),
        ("weights_col",),
        ("strata", "weights_col"),
        ("entry_col",),
        ("entry_col", "strata"),
        ("entry_col", "strata", "weights_col"),
    ],
    ids=lambda columns: "+".join(columns) or "-",
)
# Weights that are not whole make lifelines advise robust standard errors.
@pytest.mark.filterwarnings("ignore:It appears your weights are not integers")
def test_lifelines_log_likelihood(columns):
    frame = rossi()
    options = {"strata": ["wexp"], "weights_col": "weight", "entry_col": "entry"}
    names = ["fin", "age", "mar", "prio"]
    used = {name: options[name] for name in columns}
    extra = [name for value in used.values() for name in np.atleast_1d(value)]
    fitter = lifelines.CoxPHFitter().fit(
        frame[[*names, "week", "arrest", *extra]], "week", "arrest", **used
    )
    target = {"event": tensor(frame["arrest"]).bool(), "time": tensor(frame["week"])}
    for ours, theirs in (("entry", "entry_col"), ("weight", "weights_col")):
        if theirs in columns:
            target[ours] = tensor(frame[ours])
    if "strata" in columns:
        target["stratum"] = tensor(frame["wexp"]).long()
    log_hazard_ratio = tensor(frame[names]) @ tensor(fitter.params_[names])
    loss = cox(log_hazard_ratio, **target, reduction="sum")
    assert_close(-loss, tensor(fitter.log_likelihood_))


def test_torchsurv_weibull_likelihood_and_functions():
    generator = torch.Generator().manual_seed(0)
    log_params = torch.randn(40, 2, generator=generator) / 2
    event = torch.rand(40, generator=generator) < 0.6
    time = torch.rand(40, generator=generator) * 3 + 0.1
    theirs = torchsurv.loss.weibull
    for params in (log_params, log_params[:, :1]):
        for reduction in ("mean", "sum"):
            ours = value_and_gradient(
                weibull_neg_log_likelihood, params, event, time, reduction=reduction
            )
            expected = value_and_gradient(
                theirs.neg_log_likelihood_weibull, params, event, time, reduction=reduction
            )
            assert_close(ours[0], expected[0], 1e-6)
            assert_close(ours[1], expected[1], 1e-5)
        times = torch.tensor([0.1, 0.7, 2.0])
        for mine, function in (
            (weibull_log_hazard, theirs.log_hazard),
            (weibull_survival, theirs.survival_function_weibull),
        ):
            # torchsurv's survival is 1 - cdf, in float32.
            assert_close(mine(params, times), function(params, times), 1e-6)


@pytest.mark.parametrize(
    "columns",
    [(), ("weights_col",), ("entry_col",), ("entry_col", "weights_col")],
    ids=lambda columns: "+".join(columns) or "-",
)
@pytest.mark.filterwarnings("ignore:It appears your weights are not integers")
def test_lifelines_weibull_log_likelihood(columns):
    frame = rossi()
    options = {"weights_col": "weight", "entry_col": "entry"}
    names = ["fin", "age", "mar", "prio"]
    used = {name: options[name] for name in columns}
    fitter = lifelines.WeibullAFTFitter().fit(
        frame[[*names, "week", "arrest", *used.values()]], "week", "arrest", **used
    )
    scale = fitter.params_["lambda_"]
    log_scale = tensor(frame[names]) @ tensor(scale[names]) + scale["Intercept"]
    log_shape = torch.full_like(log_scale, fitter.params_["rho_"]["Intercept"])
    loss = weibull_neg_log_likelihood(
        torch.stack([log_scale, log_shape], 1),
        tensor(frame["arrest"]).bool(),
        tensor(frame["week"]),
        entry=tensor(frame["entry"]) if "entry_col" in columns else None,
        weight=tensor(frame["weight"]) if "weights_col" in columns else None,
        reduction="sum",
    )
    assert_close(-loss, tensor(fitter.log_likelihood_), 1e-10)
