"""Linear accelerated failure time models give what R and lifelines print.

Sources:
[testreg] tests/testreg.Rout.save in github.com/therneau/survival, package `survival` under R.
[stanford] r_stanford.Rout.save in the same package, data set stanford2: time, status, age.
[diabetes] R's flexsurv and icenReg, as lifelines quotes them, on its data set of 731 intervals.
lifelines 0.30.3 itself, called here.
"""

import lifelines
import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from sksurv.util import Surv

from sksurvtorch import LogLogisticAFTRegressor, LogNormalAFTRegressor, WeibullAFTRegressor
from sksurvtorch.nets import interval_censored_y
from tests.reference.test_cox_r_fits import assert_printed

PEERS = {
    WeibullAFTRegressor: lifelines.WeibullAFTFitter,
    LogNormalAFTRegressor: lifelines.LogNormalAFTFitter,
    LogLogisticAFTRegressor: lifelines.LogLogisticAFTFitter,
}
# Names of scale and shape there; the shape of a log-normal distribution is 1 / sigma.
NAMES = {
    WeibullAFTRegressor: ("lambda_", "rho_"),
    LogNormalAFTRegressor: ("mu_", "sigma_"),
    LogLogisticAFTRegressor: ("alpha_", "beta_"),
}
every = pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.__name__)


def linear(kind, **parameters):
    """The linear model at its optimum."""
    options = {"hidden_layer_sizes": (), "optimizer": "lbfgs", "random_state": 0}
    return kind(**options | parameters)


# [testreg]
SIX = Surv.from_arrays(np.array([1, 1, 0, 1, 1, 0], bool), [9.0, 1, 1, 6, 6, 8])
SIX_X = np.array([[0.0], [1], [1], [1], [0], [0]])


@pytest.mark.parametrize(
    ("kind", "intercept", "slope", "scale", "log_likelihood"),
    [
        (LogLogisticAFTRegressor, "2.177208", "-1.195672", "0.3847582", "-10.7"),
        (LogNormalAFTRegressor, "2.210", "-1.268", "0.64", "-10.5"),
        (WeibullAFTRegressor, "2.2373335", "-0.7442249", "0.4563163", None),
    ],
)
def test_six_rows(kind, intercept, slope, scale, log_likelihood):
    model = linear(kind).fit(SIX_X, SIX)
    assert_printed(model.intercept_, intercept)
    assert_printed(model.coef_[0], slope)
    assert_printed(1 / model.shape_, scale)
    if log_likelihood is not None:
        assert_printed(6 * model.log_likelihood(SIX_X, SIX), log_likelihood)


# [stanford]
STANFORD2 = """
    86 1 12  10 1 13  60 0 13  1116 0 14  2006 0 15  1107 0 18  1232 1 18  42 1 19  98 0 19
    227 1 19  793 0 19  5 1 20  119 0 20  534 0 20  781 0 20  1 1 21  149 0 21  1634 1 23
    468 0 24  1193 0 24  631 1 26  2313 0 26  1 0 27  22 1 27  56 0 27  89 0 27  391 0 27
    1778 0 27  7 1 28  48 1 28  12 1 29  176 0 29  548 0 30  993 0 30  2025 0 30  274 1 31
    1150 1 32  1271 1 32  2723 1 32  2984 0 32  31 1 33  1961 1 33  30 1 34  328 1 34  1262 0 34
    68 1 35  221 1 35  2127 1 35  44 1 36  47 1 36  322 0 36  382 1 36  663 0 36  1478 1 36
    90 1 38  464 0 38  731 1 38  1202 1 38  1945 0 38  3021 0 38  2 0 39  195 1 39  406 0 39
    1102 0 39  1718 0 39  3 1 40  14 1 40  549 0 40  1722 0 40  2106 0 40  3695 0 40  0.5 1 41
    138 1 41  278 0 41  563 0 41  738 0 41  1247 1 41  1373 0 41  1378 0 41  39 1 42  40 1 42
    46 1 42  191 1 42  297 1 42  660 0 42  161 1 43  292 0 43  293 1 43  752 0 43  1024 1 43
    1040 0 43  836 1 44  1534 1 44  1846 0 44  22 1 45  36 1 45  65 1 45  121 1 45  146 1 45
    381 1 45  2000 0 45  3410 0 45  44 1 46  50 1 46  107 0 46  132 1 46  897 1 46  950 0 46
    1384 1 46  1393 0 46  51 1 47  148 1 47  374 0 47  431 1 47  541 0 47  619 0 47  1261 0 47
    1995 0 47  2734 0 47  45 1 48  126 1 48  202 1 48  254 1 48  323 1 48  550 1 48  841 0 48
    994 1 48  1318 1 48  1638 0 48  2805 0 48  54 1 49  66 1 49  263 1 49  265 1 49  279 1 49
    538 1 49  547 1 49  729 1 49  834 0 49  1866 0 49  1996 1 49  2878 1 49  50 1 50  51 1 50
    145 1 50  618 0 50  928 1 50  1341 0 50  1547 0 50  48 1 51  66 1 51  68 1 51  122 1 51
    139 1 51  169 1 51  623 1 51  1612 0 51  25 1 52  26 1 52  51 1 52  136 1 52  188 0 52
    231 0 52  544 1 52  1264 0 52  2474 1 52  25 1 53  29 1 53  48 1 53  576 0 53  626 1 53
    1 1 54  15 1 54  64 1 54  1350 1 54  1352 1 54  65 1 55  136 1 55  10 1 56  23 1 56  63 1 56
    730 1 58  47 1 62  60 1 64
"""
STANFORD2 = np.array(STANFORD2.split(), dtype=float).reshape(184, 3)


def test_stanford_heart_transplants():
    time, status, age = STANFORD2.T
    age = age - age.mean()
    y = Surv.from_arrays(status == 1, time)
    X = np.column_stack([age, age**2])
    model = linear(LogNormalAFTRegressor).fit(X, y)
    # What R prints there has ten digits, of which its iterations have found eight.
    np.testing.assert_allclose(model.intercept_, 6.717591081, rtol=1e-7)
    np.testing.assert_allclose(model.coef_, [-0.061908619, -0.003504315], rtol=1e-6)
    assert_printed(1 / model.shape_, "2.362872")
    assert_printed(184 * model.log_likelihood(X, y), "-863.6")


@pytest.fixture(scope="module")
def diabetes():
    frame = lifelines.datasets.load_diabetes()
    X = (frame["gender"] == "male").to_numpy(float)[:, None]
    return X, interval_censored_y(*np.sort(frame[["left", "right"]].to_numpy(float)).T)


def test_intervals_of_diabetic_nephropathy(diabetes):
    X, y = diabetes
    model = linear(WeibullAFTRegressor).fit(X, y)
    assert_printed(abs(model.coef_[0]), "0.04576")
    assert_printed(np.exp(model.intercept_), "18.31971")
    assert_printed(model.shape_, "2.82628")
    assert_printed(731 * model.log_likelihood(X, y), "-2027.196")


def test_a_shape_for_each_gender(diabetes):
    X, y = diabetes
    model = linear(WeibullAFTRegressor, shape="per_sample").fit(X, y)
    frame = pd.DataFrame({"male": X[:, 0], "lower": y["lower"], "upper": y["upper"]})
    peer = lifelines.WeibullAFTFitter()
    peer.fit_interval_censoring(frame, "lower", "upper", ancillary=True)
    np.testing.assert_allclose(731 * model.log_likelihood(X, y), peer.log_likelihood_, atol=1e-5)
    scale, shape = model.predict_params([[0.0], [1.0]])
    for name, ours in (("lambda_", scale), ("rho_", shape)):
        intercept, slope = peer.params_[name][["Intercept", "male"]]
        # Its optimizer has stopped four digits from the optimum.
        np.testing.assert_allclose(np.log(ours), [intercept, intercept + slope], atol=1e-4)


def simulated(n=300, seed=0):
    """Two features, and log times that are linear in them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, np.exp(1 + X @ [0.5, -0.3] + 0.6 * rng.logistic(size=n)), rng


def assert_as_fitted_there(model, peer):
    """Coefficients, intercept and shape are those of a fitter of lifelines, which stops early."""
    location, shape = NAMES[type(model)]
    found = peer.params_
    ours = [*model.coef_, model.intercept_]
    np.testing.assert_allclose(ours, found[location][["a", "b", "Intercept"]], rtol=0, atol=1e-3)
    sign = -1 if shape == "sigma_" else 1
    log_shape = sign * found[shape]["Intercept"]
    np.testing.assert_allclose(np.log(model.shape_), log_shape, rtol=0, atol=1e-3)


@every
def test_right_censored_times_with_late_entry(kind):
    X, time, rng = simulated()
    censoring = rng.exponential(8, len(time))
    event, seen = time <= censoring, np.minimum(time, censoring)
    entry = np.where(rng.random(len(seen)) < 0.5, 0.0, 0.5 * seen * rng.random(len(seen)))
    model = linear(kind).fit(X, Surv.from_arrays(event, seen), entry=entry)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "t": seen, "e": event, "entry": entry})
    peer = PEERS[kind]().fit_right_censoring(frame, "t", "e", entry_col="entry")
    assert_as_fitted_there(model, peer)


@every
def test_left_censored_times(kind):
    X, time, rng = simulated(seed=1)
    limit = rng.uniform(0.5, 4, len(time))
    event, seen = time >= limit, np.maximum(time, limit)
    y = interval_censored_y(np.where(event, seen, 0), seen)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "t": seen, "e": event})
    peer = PEERS[kind]().fit_left_censoring(frame, "t", "e")
    assert_as_fitted_there(linear(kind).fit(X, y), peer)


@every
def test_intervals(kind):
    X, time, rng = simulated(seed=2)
    gap = rng.uniform(0.5, 3, len(time))
    number = np.floor(time / gap)
    lower, upper = number * gap, np.where(number >= 5, np.inf, (number + 1) * gap)
    lower = np.where(np.isinf(upper), 5 * gap, lower)
    exact = rng.random(len(time)) < 0.2
    lower, upper = np.where(exact, time, lower), np.where(exact, time, upper)
    # A log-normal fitter there has no gradient at 0.
    above_0 = np.maximum(lower, 1e-8)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "lower": above_0, "upper": upper})
    peer = PEERS[kind]().fit_interval_censoring(frame, "lower", "upper")
    model = linear(kind).fit(X, interval_censored_y(lower, upper))
    assert_as_fitted_there(model, peer)
