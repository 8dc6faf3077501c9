"""Learners of other packages as estimators of scikit-learn, for `accuracy_learners.py`.

Each has `predict`, a risk score, and `predict_survival_function` or `survival_at`. Parameters have
the defaults of the package.
"""

from __future__ import annotations

import tempfile
from contextlib import chdir
from unittest.mock import patch

import numpy as np
import torch
from competing_learners import unweighted_bins
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting import binning
from sksurv.linear_model.coxph import BreslowEstimator
from sksurv.nonparametric import SurvivalFunctionEstimator

Array = np.ndarray
# XGBoost's names of the distribution of log time; "extreme" is that of a Weibull time.
NOISES = {"normal": stats.norm, "logistic": stats.logistic, "extreme": stats.gumbel_l}


class KaplanMeier(BaseEstimator):
    """One curve for all."""

    def fit(self, X: Array, y: Array) -> KaplanMeier:
        """Estimate the curve."""
        self.curve_ = SurvivalFunctionEstimator().fit(y)
        return self

    def predict(self, X: Array) -> Array:
        """Return the same risk for all."""
        return np.zeros(len(X))

    def survival_at(self, X: Array, times: Array) -> Array:
        """Return the survival of each row at the times."""
        return np.tile(self.curve_.predict_proba(times), (len(X), 1))


class XGBoostCox(BaseEstimator):
    """XGBoost's `survival:cox`, with Breslow's baseline hazard of the rows it was fitted to."""

    def __init__(
        self,
        *,
        n_estimators=100,
        learning_rate=0.3,
        max_depth=6,
        min_child_weight=1.0,
        subsample=1.0,
        colsample_bytree=1.0,
        reg_lambda=1.0,
    ):
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.min_child_weight = min_child_weight
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.reg_lambda = reg_lambda

    def train(self, X: Array, options: dict[str, object], **labels: Array) -> None:
        """Boost trees with the parameters of the estimator and more options."""
        import xgboost

        parameters = {**self.get_params(), **options, "seed": 0, "nthread": 1}
        rounds = parameters.pop("n_estimators")
        data = xgboost.DMatrix(X, **labels)
        self.booster_ = xgboost.train(parameters, data, num_boost_round=rounds)

    def margin(self, X: Array) -> Array:
        """Return the sum of the trees."""
        import xgboost

        return self.booster_.predict(xgboost.DMatrix(X), output_margin=True).astype(float)

    def fit(self, X: Array, y: Array) -> XGBoostCox:
        """Boost trees; the time of a censored row is negative."""
        event, when = (y[name] for name in y.dtype.names)
        label = np.where(event, when, -when)
        self.train(X, {"objective": "survival:cox"}, label=label)
        self.baseline_ = BreslowEstimator().fit(self.margin(X), event, when)
        return self

    def predict(self, X: Array) -> Array:
        """Return the log hazard ratios."""
        return self.margin(X)

    def predict_survival_function(self, X: Array) -> Array:
        """Return a step function for each row."""
        return self.baseline_.get_survival_function(self.margin(X))


class XGBoostAFT(XGBoostCox):
    """XGBoost's `survival:aft`: log time = sum of trees + scale × noise."""

    def __init__(
        self,
        *,
        aft_loss_distribution="normal",
        aft_loss_distribution_scale=1.0,
        n_estimators=100,
        learning_rate=0.3,
        max_depth=6,
        min_child_weight=1.0,
        subsample=1.0,
        colsample_bytree=1.0,
        reg_lambda=1.0,
    ):
        super().__init__(
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            max_depth=max_depth,
            min_child_weight=min_child_weight,
            subsample=subsample,
            colsample_bytree=colsample_bytree,
            reg_lambda=reg_lambda,
        )
        self.aft_loss_distribution = aft_loss_distribution
        self.aft_loss_distribution_scale = aft_loss_distribution_scale

    def fit(self, X: Array, y: Array) -> XGBoostAFT:
        """Boost trees; the time of a censored row has no upper bound."""
        event, when = (y[name] for name in y.dtype.names)
        upper = np.where(event, when, np.inf)
        bounds = {"label_lower_bound": when, "label_upper_bound": upper}
        self.train(X, {"objective": "survival:aft"}, **bounds)
        return self

    def predict(self, X: Array) -> Array:
        """Return a risk score, minus the log time."""
        return -self.margin(X)

    def survival_at(self, X: Array, times: Array) -> Array:
        """Return the survival of each row at the times."""
        scaled = (np.log(times) - self.margin(X)[:, None]) / self.aft_loss_distribution_scale
        return NOISES[self.aft_loss_distribution].sf(scaled)


class HazardousSurvivalBoost(BaseEstimator):
    """hazardous' gradient boosting, with unweighted bins as in `competing_learners.py`."""

    def fit(self, X: Array, y: Array) -> HazardousSurvivalBoost:
        """Boost trees."""
        from hazardous import SurvivalBoost

        event, when = (y[name] for name in y.dtype.names)
        self.model_ = SurvivalBoost(show_progressbar=False, random_state=0)
        with patch.object(binning, "_find_binning_thresholds", unweighted_bins):
            self.model_.fit(X, {"event": event.astype(int), "duration": when})
        self.times_ = np.quantile(when[event], np.linspace(0.05, 0.95, 19))
        return self

    def predict(self, X: Array) -> Array:
        """Return a risk score: minus the mean survival at 19 quantiles of the event times."""
        return -self.survival_at(X, self.times_).mean(axis=1)

    def survival_at(self, X: Array, times: Array) -> Array:
        """Return the survival of each row at the times."""
        return self.model_.predict_survival_function(X, times=times)


class PycoxCoxPH(BaseEstimator):
    """pycox's CoxPH with the network and training of `examples/cox-ph.ipynb` there.

    A fifth of the rows stops the training. The notebook reads a learning rate of 0.01 off a plot.
    """

    def fit(self, X: Array, y: Array) -> PycoxCoxPH:
        """Train the network."""
        import torchtuples
        from pycox.models import CoxPH

        torch.manual_seed(0)
        event, when = (y[name].astype("float32") for name in y.dtype.names)
        held_out = np.random.default_rng(0).permutation(len(X)) < len(X) // 5
        inputs = X.astype("float32")
        train, validation = (
            (inputs[rows], (when[rows], event[rows])) for rows in (~held_out, held_out)
        )
        network = torchtuples.practical.MLPVanilla(
            X.shape[1], [32, 32], 1, batch_norm=True, dropout=0.1, output_bias=False
        )
        self.model_ = CoxPH(network, torchtuples.optim.Adam(0.01))
        stop = torchtuples.callbacks.EarlyStopping()
        # The callback keeps the best weights in a file of the working directory.
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            self.model_.fit(*train, 256, 512, [stop], verbose=False, val_data=validation)
        self.model_.compute_baseline_hazards()
        return self

    def predict(self, X: Array) -> Array:
        """Return the log hazard ratios."""
        return self.model_.predict(X.astype("float32")).ravel().astype(float)

    def survival_at(self, X: Array, times: Array) -> Array:
        """Return the survival of each row at the times."""
        curves = self.model_.predict_surv_df(X.astype("float32"))
        steps = np.vstack([np.ones(len(X)), curves.to_numpy()])
        return steps[np.searchsorted(curves.index.to_numpy(), times, side="right")].T
