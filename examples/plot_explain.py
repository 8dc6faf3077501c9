"""
What does the network use?
==========================

A network has no coefficients to read. Other questions can be answered: how much worse does it rank
people when a column is shuffled, how does the predicted hazard change with a column, and what makes
the hazard of one person high? The estimators are regressors, so `sklearn.inspection` can be used.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.inspection import PartialDependenceDisplay, partial_dependence, permutation_importance
from sklearn.model_selection import train_test_split
from sksurv.datasets import load_flchain
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor
from sksurvtorch.metrics import concordance_index_censored

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# People aged 50 or more, followed for up to 14 years from a blood sample in which two proteins
# (kappa and lambda free light chains, in mg/dL) and creatinine (mg/dL) were measured. Creatinine is
# missing for one in six. They are left out here, since a column that is filled in would have a
# peak of its own in every plot.

data, target = load_flchain()
X = pd.DataFrame(
    {
        "age": data["age"],
        "creatinine": data["creatinine"],
        "kappa": data["kappa"],
        "lambda": data["lambda"],
        "male": (data["sex"] == "M").astype(float),
        "mgus": (data["mgus"] == "yes").astype(float),
        "sample year": data["sample.yr"].astype(float),
    }
).dropna()
y = Surv.from_arrays(target["death"], target["futime"] / 365.25)[X.index]
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y["event"], random_state=0
)
print(f"{len(y_train)} people to learn from, {y_train['event'].sum()} of them have died")
print(f"{len(y_test)} people held out, {y_test['event'].sum()} of them have died")

# %%
# A network and a linear model
# ----------------------------
# Explaining a model is only worthwhile if it predicts well. The linear Cox model is the same
# estimator without hidden layers. The standard error of the difference is from a bootstrap of the
# held-out people.

models = {
    "linear": CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs").fit(X_train, y_train),
    "network": CoxNNRegressor(n_estimators=1, batch_size=512, random_state=0).fit(X_train, y_train),
}


def concordances(rows):
    """Return Harrell's concordance of each model on some held-out rows."""
    of_rows = y_test[rows]
    return [
        concordance_index_censored(of_rows["event"], of_rows["time"], risk[rows])[0]
        for risk in risks
    ]


risks = [model.predict(X_test) for model in models.values()]
linear, network = concordances(slice(None))
rng = np.random.default_rng(0)
drawn = [concordances(rng.integers(len(X_test), size=len(X_test))) for _ in range(200)]
error = np.diff(drawn).std(ddof=1)
print(f"\nheld-out concordance: linear {linear:.3f}, network {network:.3f}")
print(f"difference {network - linear:+.4f}, bootstrap standard error {error:.4f}")

# %%
# Permutation importance
# ----------------------
# How much of the held-out concordance is lost when a column is shuffled. If two columns are
# correlated, as kappa and lambda are, one can replace the other, so the loss for each is small. So
# they are also shuffled together.


def importance(model, columns, n_repeats=10):
    """Return the loss of concordance from shuffling columns together, for each repeat."""
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(n_repeats):
        shuffled = X_test.copy()
        shuffled[columns] = X_test[columns].to_numpy()[rng.permutation(len(X_test))]
        losses.append(model.score(X_test, y_test) - model.score(shuffled, y_test))
    return losses


loss = {}
for name, model in models.items():
    result = permutation_importance(model, X_test, y_test, n_repeats=10, random_state=0)
    loss[name] = dict(zip(X.columns, result.importances, strict=True))
    loss[name]["kappa and lambda"] = importance(model, ["kappa", "lambda"])
print(f"\nkappa and lambda: Spearman correlation {X['kappa'].corr(X['lambda'], 'spearman'):.2f}")
print(f"\n{'loss of concordance if shuffled':32}{'linear':>16}{'network':>18}")
order = sorted(loss["network"], key=lambda column: -np.mean(loss["network"][column]))
for column in order:
    row = [f"{np.mean(of[column]):9.4f} ± {np.std(of[column]):.4f}" for of in loss.values()]
    print(f"{column:30}" + "".join(f"{each:>18}" for each in row))
print("± is the standard deviation over 10 shuffles.")

# %%
# Both models rank mostly by age. Shuffling both proteins loses more than the sum of the losses of
# each, as expected for columns with shared information. The models differ in creatinine: it has no
# effect in the linear model, which does not mean that it has no effect at all.

# %%
# Partial dependence
# ------------------
# The mean prediction over the held-out people if all of them had the same value in a column. It is
# in the unit of ``predict``, for a Cox model the log hazard ratio: 0.69 more is twice the hazard.
# Its level has no meaning, so it is given here relative to a creatinine of 1 mg/dL.

values = np.array([0.6, 1.0, 1.5, 2.0])
print(f"\n{'creatinine (mg/dL)':24}" + "".join(f"{value:8.1f}" for value in values))
for name, model in models.items():
    result = partial_dependence(
        model, X_test, ["creatinine"], custom_values={"creatinine": values}, kind="average"
    )
    along = result["average"][0]
    print(f"{name:24}" + "".join(f"{each:+8.2f}" for each in along - along[1]))

# %%
# In the network the hazard is lowest near 1 mg/dL, and higher both above and below. With people on
# both sides, a straight line is nearly level: this is why the linear model found no effect.
#
# In the picture thin lines are single people (individual conditional expectation), and the thick
# line is their mean. All start at 0, so a height is the log hazard ratio relative to the left end.
# If thin lines are not parallel, the column interacts with others. The ticks at the bottom are the
# deciles of the data: beyond the last one there are few people, and the lines are mostly
# extrapolation. Age has its own scale.

columns = ["age", "creatinine", "kappa", "lambda"]
units = ["years", "mg/dL", "mg/dL", "mg/dL"]
heights = [(-0.3, 4.6), (-0.5, 1.6), (-0.5, 1.6), (-0.5, 1.6)]
figure = plt.figure(figsize=(12, 6.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.9])
axes = right.subplots(2, 2)
for name, kind, line, color in (
    ("network", "both", "-", "tab:blue"),
    ("linear", "average", "--", "black"),
):
    PartialDependenceDisplay.from_estimator(
        models[name],
        X_test,
        columns,
        kind=kind,
        centered=True,
        subsample=80,
        random_state=0,
        grid_resolution=30,
        percentiles=(0.01, 0.99),
        ice_lines_kw={"color": color, "alpha": 0.2, "lw": 0.7},
        pd_line_kw={"color": color, "ls": line, "lw": 2.2, "label": name},
        ax=axes,
    )
for axis, column, unit, height in zip(axes.flat, columns, units, heights, strict=True):
    axis.set(xlabel=f"{column} ({unit})", ylabel="log hazard ratio", ylim=height)
    axis.yaxis.set_major_locator(plt.MaxNLocator(5))
    axis.yaxis.set_major_formatter("{x:.1f}")
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend():
        axis.get_legend().remove()
axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels(), loc="upper left", frameon=False)

axis = left.subplots()
rest = [column for column in reversed(order) if column != "age"]
for name, color, shift in (("network", "tab:blue", 0.17), ("linear", "0.3", -0.17)):
    mean = [np.mean(loss[name][column]) for column in rest]
    spread = [np.std(loss[name][column]) for column in rest]
    axis.barh(np.arange(len(rest)) + shift, mean, 0.32, xerr=spread, color=color, label=name)
axis.set_yticks(range(len(rest)), rest)
age = ", ".join(f"{np.mean(loss[name]['age']):.2f} ({name})" for name in ("network", "linear"))
axis.set_xlabel(f"loss of held-out concordance if shuffled\nnot shown: age, {age}")
axis.legend(loc="lower right", frameon=False)
axis.spines[["top", "right"]].set_visible(False)
figure.savefig("plot_explain.png", dpi=150)
print("\nImportances and partial dependence: plot_explain.png")

# %%
# One person
# ----------
# SHAP values split the prediction for a person, less the mean prediction for others, into one
# summand for each column, in the same unit. They need the package ``shap``; with seven columns it
# computes them exactly, for all subsets of the columns. Of the held-out people below 60 this is the
# one with the highest predicted hazard.
#
# This person is extreme. The creatinine of 8.6 mg/dL is four times the 99 % quantile, and each
# protein is more than twice its quantile, so the network extrapolates. The values explain what the
# model does. They do not show whether it is right, nor what would happen if creatinine were
# lowered.

young = X_test[X_test["age"] < 60]
person = young.iloc[[models["network"].predict(young).argmax()]]
try:
    import shap
except ImportError:
    print("\nSHAP values are left out: they need the package shap (pip install shap).")
else:
    others = X_train.sample(200, random_state=0)
    explainer = shap.explainers.Exact(
        lambda rows: models["network"].predict(pd.DataFrame(rows, columns=X.columns)), others
    )
    explained = explainer(person, silent=True)
    print(f"\n{'one person':14}{'value':>8}{'log hazard ratio':>20}")
    for k in np.argsort(-np.abs(explained.values[0])):
        print(f"{X.columns[k]:14}{person.iloc[0, k]:8.1f}{explained.values[0, k]:+20.2f}")
    print(f"{'sum':14}{'':8}{explained.values[0].sum():+20.2f}")
    difference = models["network"].predict(person)[0] - models["network"].predict(others).mean()
    print(f"prediction less the mean of 200 others: {difference:+.2f}")
