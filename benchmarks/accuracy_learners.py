"""Learners of survival for `accuracy.py`: this package and its peers, with defaults and tuned."""

from __future__ import annotations

import numpy as np
from accuracy_peers import (
    HazardousSurvivalBoost,
    KaplanMeier,
    PycoxCoxPH,
    XGBoostAFT,
    XGBoostCox,
)
from scipy import stats
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.metrics import concordance_index_censored

Array = np.ndarray

OURS, REFERENCE = "Cox network", "Kaplan-Meier"
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
    if label == "Cox":  # a small ridge keeps nearly singular folds solvable
        model = CoxPHSurvivalAnalysis(alpha=1.0 if name == "breast_cancer" else 1e-4, n_iter=200)
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
