"""Learners of survival for `accuracy.py`: this package and its peers, with defaults and tuned.

All are estimators of scikit-learn with `predict`, a risk score, and survival functions. Those of
other packages that are not get a class here, whose parameters have the defaults of the package.
"""

from __future__ import annotations

import tempfile
from contextlib import chdir
from unittest.mock import patch

import numpy as np
import torch
from competing_learners import unweighted_bins
from defaults_peers import learner as untuned
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting import binning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.linear_model.coxph import BreslowEstimator
from sksurv.nonparametric import SurvivalFunctionEstimator

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.metrics import concordance_index_censored

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


OURS, OURS_TUNED = "Cox network", "Cox network, tuned"
DEFAULTS = {
    OURS: lambda: CoxNNRegressor(random_state=0),
    "Weibull network": lambda: WeibullAFTRegressor(random_state=0),
    "Cox": None,  # its penalty depends on the data
    "Elastic-net Cox": lambda: CoxnetSurvivalAnalysis(l1_ratio=0.5, fit_baseline_model=True),
    "Random forest": lambda: RandomSurvivalForest(random_state=0),
    "Gradient boosting": lambda: GradientBoostingSurvivalAnalysis(random_state=0),
    "XGBoost Cox": XGBoostCox,
    "XGBoost AFT": XGBoostAFT,
    "SurvivalBoost": HazardousSurvivalBoost,
    "pycox CoxPH": PycoxCoxPH,
}
REFERENCE = "Kaplan-Meier"

TREES = {
    "n_estimators": stats.randint(50, 301),
    "learning_rate": stats.loguniform(0.01, 0.3),
    "max_depth": [1, 2, 3, 4, 6],
    "subsample": [0.5, 0.75, 1.0],
}
BOOSTED = {
    **TREES,
    "min_child_weight": stats.loguniform(1, 20),
    "colsample_bytree": [0.5, 0.75, 1.0],
    "reg_lambda": stats.loguniform(0.1, 30),
}
NETWORK = {
    "hidden_layer_sizes": [(32,), (64, 64), (128, 128)],
    "alpha": ["auto", 1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
    "dropout": [0.0, 0.0, 0.3],
    "lr": ["auto", 1e-3, 3e-3],
}
LINEAR = {
    "hidden_layer_sizes": [()],
    "optimizer": ["lbfgs"],
    "alpha": [0.1, 1.0, 3.0, 10.0, 30.0, 100.0],
}
# What is drawn for a candidate; of several spaces, which are equally likely, one is drawn first.
SPACES = {
    OURS: [NETWORK, NETWORK, NETWORK, LINEAR],
    "Elastic-net Cox": {
        "alphas": [[float(alpha)] for alpha in np.geomspace(1e-3, 0.3, 40)],
        "l1_ratio": [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0],
    },
    "Random forest": {
        "min_samples_leaf": [3, 5, 10, 15, 20, 30],
        "max_features": ["sqrt", 0.25, 0.5, 0.75, 1.0],
        "bootstrap": [True, False],
    },
    "Gradient boosting": {
        **TREES,
        "min_samples_leaf": [1, 5, 10, 20],
        "max_features": ["sqrt", 0.5, None],
    },
    "XGBoost Cox": BOOSTED,
    "XGBoost AFT": {
        **BOOSTED,
        "aft_loss_distribution": ["normal", "logistic", "extreme"],
        "aft_loss_distribution_scale": stats.loguniform(0.3, 2),
    },
}
N_CANDIDATES, N_INNER = 10, 5
TUNED = [f"{label}, tuned" for label in SPACES]
# The package that a learner needs, beside those of the tests.
NEEDS = {
    **dict.fromkeys([name for name in [*DEFAULTS, *TUNED] if "XGBoost" in name], "xgboost"),
    "SurvivalBoost": "hazardous",
    "pycox CoxPH": "pycox",
}


def pipeline(label: str, name: str) -> Pipeline:
    """Return an untuned learner with the preparation of all."""
    if label == "Cox":
        model = untuned("CoxPH", name)
    else:
        model = KaplanMeier() if label == REFERENCE else DEFAULTS[label]()
    return Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler()), ("model", model)])


def harrell(model: Pipeline, X: Array, y: Array) -> float:
    """Return Harrell's concordance, by which a search chooses."""
    event, when = (y[name] for name in y.dtype.names)
    return concordance_index_censored(event, when, model.predict(X))[0]


def fitted(label: str, name: str, X: Array, y: Array) -> tuple[Pipeline, int]:
    """Return a learner, fitted to rows of a data set, and how many fits of a search failed."""
    base = label.removesuffix(", tuned")
    model = pipeline(base, name)
    if label == base:
        return model.fit(X, y), 0
    spaces = SPACES[base] if isinstance(SPACES[base], list) else [SPACES[base]]
    folds = StratifiedKFold(N_INNER, shuffle=True, random_state=0).split(X, y[y.dtype.names[0]])
    search = RandomizedSearchCV(
        model,
        [{f"model__{key}": values for key, values in space.items()} for space in spaces],
        n_iter=N_CANDIDATES,
        scoring=harrell,
        cv=list(folds),
        random_state=0,
    )
    search.fit(X, y)
    by_fold = [search.cv_results_[f"split{k}_test_score"] for k in range(N_INNER)]
    return search.best_estimator_, int(np.isnan(by_fold).sum())


def curves(model: Pipeline, X: Array, times: Array) -> Array:
    """Return the predicted survival of each row at some times, of shape (n_samples, n_times)."""
    if hasattr(model[-1], "survival_at"):
        return model[-1].survival_at(model[:-1].transform(X), times)
    return np.stack([function(times) for function in model.predict_survival_function(X)])
