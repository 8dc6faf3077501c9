"""
Does stacking a network with a forest help?
===========================================

A network and a random survival forest make different mistakes. A Cox model can combine their risk
scores with a weight for each: is it better than the better of the two? And does it matter that
`sksurv.meta.Stacking` learns these weights from the rows to which the two were fitted?
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit, cross_val_predict
from sksurv.datasets import load_gbsg2
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.meta import Stacking
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor
from sksurvtorch.metrics import concordance_index_censored

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# 686 breast cancer patients, followed until the cancer came back, they died, or the study ended.

data, target = load_gbsg2()
X = data.assign(
    horTh=data["horTh"] == "yes",
    menostat=data["menostat"] == "Post",
    tgrade=data["tgrade"].map({"I": 1, "II": 2, "III": 3}),
).astype(float)
y = Surv.from_arrays(target["cens"], target["time"])
colors = ["tab:blue", "tab:green"]
print(f"{len(y)} patients, {y['event'].sum()} with an event")

# %%
# Two ways to stack
# -----------------
# `sksurv.meta.Stacking` fits the network and the forest, predicts the same rows, and fits the Cox
# model to these predictions. A forest fits the rows it has seen much closer than new ones, so its
# in-sample scores look better than they are. The other way predicts each row by models that were
# fitted without its fold, learns the weights from these out-of-fold scores, and applies them to the
# models of all rows.
#
# Both risk scores are used as they are: the log hazard ratio of the network, and for the forest the
# number of events that is expected if all patients were like this one.

base = [
    ("network", CoxNNRegressor(n_estimators=1, random_state=0)),
    ("forest", RandomSurvivalForest(n_estimators=100, min_samples_leaf=15, random_state=0)),
]


def out_of_fold_scores(X, y, n_folds=3):
    """Return risk scores of shape (n_samples, n_models) from models that have not seen the row."""
    folds = list(StratifiedKFold(n_folds, shuffle=True, random_state=0).split(X, y["event"]))
    return np.column_stack([cross_val_predict(model, X, y, cv=folds) for _, model in base])


def concordance(y, risk_score):
    """Return Harrell's concordance."""
    return concordance_index_censored(y["event"], y["time"], risk_score)[0]


# %%
# Ten splits
# ----------
# Three quarters of the patients are for training, a quarter is held out. Coefficients are per
# standard deviation of a score, so that those of the two models can be compared.

splitter = StratifiedShuffleSplit(10, test_size=0.25, random_state=0)
scores, in_sample = [], []
coefficients = {"in-sample scores": [], "out-of-fold scores": []}
for train, test in splitter.split(X, y["event"]):
    X_train, X_test, y_train, y_test = X.iloc[train], X.iloc[test], y[train], y[test]
    stacking = Stacking(CoxPHSurvivalAnalysis(), base).fit(X_train, y_train)
    seen, new = (
        np.column_stack([model.predict(rows) for model in stacking.estimators_])
        for rows in (X_train, X_test)
    )
    out_of_fold = out_of_fold_scores(X_train, y_train)
    weigh = CoxPHSurvivalAnalysis().fit(out_of_fold, y_train)
    coefficients["in-sample scores"].append(stacking.final_estimator_.coef_ * seen.std(axis=0))
    coefficients["out-of-fold scores"].append(weigh.coef_ * out_of_fold.std(axis=0))
    in_sample.append([concordance(y_train, score) for score in seen.T])
    scores.append(
        {
            "network": concordance(y_test, new[:, 0]),
            "forest": concordance(y_test, new[:, 1]),
            "Stacking, in-sample": stacking.score(X_test, y_test),
            "stacked, out-of-fold": weigh.score(new, y_test),
            "mean of both": concordance(y_test, (new / seen.std(axis=0)).sum(axis=1)),
        }
    )
names = list(scores[0])
scores = np.array([[row[name] for name in names] for row in scores])

seen_by = ", ".join(
    f"{name} {mean:.3f}" for (name, _), mean in zip(base, np.mean(in_sample, axis=0), strict=True)
)
print(f"\nconcordance on the rows of the fit: {seen_by}")
print(f"\n{'coefficient':24}{'network':>16}{'forest':>16}")
for name, rows in coefficients.items():
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    cells = [f"{m:+.2f} ± {s:.2f}" for m, s in zip(mean, spread, strict=True)]
    print(f"{name:24}" + "".join(f"{cell:>16}" for cell in cells))
print("± is the standard deviation over the splits.")

# %%
# On the rows of the fit, the forest looks far better than the network, mostly because it was fitted
# to them. So in-sample scores give it all of the weight, and give the network, which is a good
# predictor, a negative coefficient. Out-of-fold scores use both.

# %%
# Held-out patients
# -----------------
# The splits share most of their rows, so the usual standard error of a mean over splits is too
# small. Nadeau and Bengio (2003, https://doi.org/10.1023/A:1024068626366) replace one over the
# number of splits by its sum with the ratio of held-out to training rows.

factor = (1 / len(scores) + len(test) / len(train)) ** 0.5
differences = scores - scores[:, [names.index("forest")]]
errors = factor * differences.std(axis=0, ddof=1)
print(f"\n{'held out, mean of 10':26}{'concordance':>12}{'less the forest':>20}")
for k, name in enumerate(names):
    cell = "" if name == "forest" else f"{differences[:, k].mean():+.4f} ± {errors[k]:.4f}"
    print(f"{name:26}{scores[:, k].mean():12.3f}{cell:>20}")
to_network = scores[:, names.index("stacked, out-of-fold")] - scores[:, names.index("network")]
error = factor * to_network.std(ddof=1)
print(f"stacked, out-of-fold, less the network: {to_network.mean():+.4f} ± {error:.4f}")

# %%
# Does it help? Not here: with out-of-fold weights, stacking is as good as the forest, the better of
# the two, and so is the mean of the standardised scores. The differences are within chance.
# In-sample weights are a little worse, by between one and two standard errors, which may be chance
# too. The benefit of stacking is that no choice is needed: without knowing which model is better,
# out-of-fold weights give a result as good as the better model, and better than the network by more
# than two standard errors.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for x, rows in enumerate(coefficients.values()):
    for shift, values, color in zip((-0.12, 0.12), np.transpose(rows), colors, strict=True):
        left.scatter(np.full(len(values), x + shift), values, color=color, s=22, alpha=0.7)
left.axhline(0, color="k", lw=0.8)
left.set_xticks(range(2), ["in-sample scores", "out-of-fold scores"])
left.set(xlim=(-0.5, 1.5), ylabel="log hazard ratio per standard deviation of the score")
left.set_title("Coefficients of the Cox model on top, ten splits", fontsize=11)
for (name, _), color in zip(base, colors, strict=True):
    left.scatter([], [], color=color, s=22, label=name)
left.legend(frameon=False)

others = [k for k, name in enumerate(names) if name != "forest"]
for place, k in enumerate(others):
    right.scatter(differences[:, k], np.full(len(differences), place), color="0.7", s=22)
    right.errorbar(differences[:, k].mean(), place, xerr=errors[k], fmt="o", color="k", capsize=3)
right.axvline(0, color="tab:green", lw=1)
right.set_yticks(range(len(others)), [names[k] for k in others])
right.invert_yaxis()
right.set(xlabel="Held-out concordance less that of the forest")
right.set_title("Each split, mean and standard error", fontsize=11)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig("plot_stacking.png", dpi=150)
print("\nCoefficients and differences: plot_stacking.png")
