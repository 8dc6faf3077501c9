"""
Quickstart: survival with free light chains
===========================================

Predict how long people live from a blood sample: prepare columns, tune two neural survival models
as any scikit-learn estimator, compare them with scikit-survival's on people they have not seen, and
look at the predicted curves. It takes half a minute on two cores that have nothing else to do.
"""

from time import perf_counter

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sksurv.datasets import load_flchain
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    integrated_brier_score,
)
from sksurv.nonparametric import SurvivalFunctionEstimator, kaplan_meier_estimator
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

# Networks this small gain little from more threads, and lose much where other programs run.
torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# 7874 people aged 50 or more, followed for up to 14 years from a blood sample in which two proteins
# (kappa and lambda free light chains) were measured. More than a quarter have died, the others are
# censored. Creatinine is missing for one in six.

data, target = load_flchain()
# `chapter` must stay out: it is the cause of death, known of the dead only. `flc.grp` is left out
# too, as it only bins the sum of kappa and lambda.
numeric = ["age", "creatinine", "kappa", "lambda"]
categorical = ["sex", "mgus", "sample.yr"]
# Three people have a follow-up of 0 days. A Weibull time is above 0: count them as half a day.
years = np.maximum(target["futime"], 0.5) / 365.25
y = Surv.from_arrays(target["death"], years)

X_train, X_test, y_train, y_test = train_test_split(
    data[numeric + categorical], y, test_size=0.25, stratify=y["event"], random_state=0
)
print(f"{len(y_train)} people to learn from, {y_train['event'].sum()} of them have died")
print(f"{len(y_test)} people held out, {y_test['event'].sum()} of them have died")

# %%
# Preparation belongs into the model, so that cross-validation fits it to the training folds only.

numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
labels = make_pipeline(
    SimpleImputer(strategy="most_frequent"),
    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
)
columns = ColumnTransformer([("numbers", numbers, numeric), ("labels", labels, categorical)])
pipeline = Pipeline([("columns", columns), ("model", None)])

# %%
# Two networks, tuned
# -------------------
# Without hidden layers they are the linear Cox and Weibull models. They are among the candidates,
# so the search also shows whether a network is worthwhile. Candidates are compared by their
# `score`, Harrell's concordance.

grid = [
    {"model__hidden_layer_sizes": [()], "model__alpha": [1]},
    {"model__hidden_layer_sizes": [(64, 64)], "model__alpha": [2, 8]},
]
fitted, seconds = {}, {}
print("\nTuning two networks: best of 3 candidates in 3-fold cross-validation", flush=True)
for kind in CoxNNRegressor, WeibullAFTRegressor:
    # Larger batches and fewer epochs than by default: a quarter of the time, the same score here.
    model = kind(batch_size=512, max_epochs=40, random_state=0)
    name = type(model).__name__
    search = GridSearchCV(clone(pipeline).set_params(model=model), grid, cv=3, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=0))
    start = perf_counter()
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        search.fit(X_train, y_train)
    fitted[name], seconds[name] = search.best_estimator_, search.refit_time_
    best = ", ".join(f"{k.removeprefix('model__')}={v}" for k, v in search.best_params_.items())
    print(f"{name}: {best} ({perf_counter() - start:.0f} s)", flush=True)

# %%
# Comparison with scikit-survival
# -------------------------------
# These models are not tuned. Kaplan-Meier, one curve for everybody, shows the Brier score without
# any covariate. The seconds are those of one fit, for the networks with the best parameters.

print("\nFitting three models of scikit-survival", flush=True)
for model in (
    # The columns of a label add up to 1, so only a penalty, however small, leaves one solution.
    CoxPHSurvivalAnalysis(alpha=0.01),
    CoxnetSurvivalAnalysis(fit_baseline_model=True),
    RandomSurvivalForest(n_estimators=100, min_samples_leaf=15, n_jobs=2, random_state=0),
):
    name = type(model).__name__
    start = perf_counter()
    fitted[name] = clone(pipeline).set_params(model=model).fit(X_train, y_train)
    seconds[name] = perf_counter() - start
start = perf_counter()
kaplan_meier = SurvivalFunctionEstimator().fit(y_train)
seconds["Kaplan-Meier"] = perf_counter() - start

# %%
# IPCW weights are one over the probability of still being observed. They are estimated from the
# training rows, so the times have to be within their follow-up, and not too close to its end.

times = np.linspace(*np.percentile(y_test["time"][y_test["event"]], [5, 95]), 100)
predicted = {}
for name, model in fitted.items():
    curves = model.predict_survival_function(X_test)
    predicted[name] = model.predict(X_test), np.vstack([curve(times) for curve in curves])
everybody = np.tile(kaplan_meier.predict_proba(times), (len(y_test), 1))
predicted["Kaplan-Meier"] = np.zeros(len(y_test)), everybody

print(f"\n{'':24}{'concordance':^18}{'integrated':>13}{'fit':>9}")
print(f"{'held out':24}{'Harrell':>9}{'IPCW':>9}{'Brier score':>13}{'seconds':>9}")
for name, (risk, survival) in predicted.items():
    harrell = concordance_index_censored(y_test["event"], y_test["time"], risk)[0]
    ipcw = concordance_index_ipcw(y_train, y_test, risk, tau=times[-1])[0]
    brier = integrated_brier_score(y_train, y_test, survival, times)
    print(f"{name:24}{harrell:9.3f}{ipcw:9.3f}{brier:13.4f}{seconds[name]:9.1f}")
# About twice the standard error of a difference, from a bootstrap of the held-out people.
print("On one split like this, concordances that differ by less than 0.01 are within chance.")

# %%
# Predicted and observed survival
# -------------------------------
# The held-out people in quarters of their predicted risk: the mean of the predicted curves of each
# quarter should follow its Kaplan-Meier curve, up to the chance that the 95 % bands show.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
quarters = ["lowest risk", "second quarter", "third quarter", "highest risk"]
colors = plt.get_cmap("viridis")([0.75, 0.5, 0.28, 0.05])
follow_up = np.linspace(0, times[-1], 200)
for axis, name in zip(axes, ("CoxNNRegressor", "WeibullAFTRegressor"), strict=True):
    risk = predicted[name][0]
    quarter = np.searchsorted(np.quantile(risk, [0.25, 0.5, 0.75]), risk)
    for k, color in enumerate(colors):
        of_quarter = quarter == k
        event, time = y_test["event"][of_quarter], y_test["time"][of_quarter]
        time, observed, band = kaplan_meier_estimator(event, time, conf_type="log-log")
        axis.fill_between(time, *band, step="post", color=color, alpha=0.2, lw=0)
        axis.step(time, observed, where="post", color=color, lw=1.2)
        curves = fitted[name].predict_survival_function(X_test[of_quarter])
        mean = np.mean([curve(follow_up) for curve in curves], axis=0)
        axis.plot(follow_up, mean, color=color, lw=2, ls="--")
        axis.text(times[-1] + 0.2, mean[-1], quarters[k], color=color, va="center")
    axis.set(title=name, xlabel="Years since the blood sample", xlim=(0, times[-1]), ylim=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("Probability of being alive")
axes[0].plot([], [], "k--", lw=2, label="predicted, mean of the quarter")
axes[0].plot([], [], "k-", lw=1.2, label="observed, Kaplan-Meier with 95 % band")
axes[0].legend(loc="lower left", frameon=False)
figure.savefig("quickstart.png", dpi=150)
print("\nPredicted and Kaplan-Meier curves: quickstart.png")
