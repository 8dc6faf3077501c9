"""
How well is the curve of one patient known?
===========================================

An ensemble of networks and a linear model predict different survival curves for the same patient.
Has the ensemble learned something that the linear model cannot express, or is the difference
chance? The band around the curve tells.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sksurv.datasets import load_gbsg2
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor
from sksurvtorch.displays import DCalibrationDisplay, SurvivalFunctionDisplay

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# Two models
# ----------
# 686 women with breast cancer, followed until the cancer comes back or they die. A quarter of them
# is held out. The first model is an ensemble of 15 networks, which is the default. The second is
# the linear Cox model.

data, target = load_gbsg2()
y = Surv.from_arrays(target["cens"], target["time"] / 365.25)  # in years
X = OneHotEncoder().fit_transform(data)
train, test = train_test_split(
    np.arange(len(y)), test_size=0.25, stratify=y["event"], random_state=0
)
X_train, X_test, y_train, y_test = X.iloc[train], X.iloc[test], y[train], y[test]
ensemble = CoxNNRegressor(random_state=0).fit(X_train, y_train)
linear = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs").fit(X_train, y_train)
models = {"Ensemble": ensemble, "Linear model": linear}
print(f"{len(train)} women to fit, {len(test)} held out\n\nconcordance, held out")
for name, model in models.items():
    print(f"{name:12}{model.score(X_test, y_test):6.2f}")

# %%
# One patient
# -----------
# Neither model has seen this woman. Her cancer was in eleven lymph nodes, which is many, but its
# grade is I, the mildest. Few women of the training data are like that.

PATIENT = 275
assert PATIENT in X_test.index
patient = X.loc[[PATIENT]]
print("\n" + data.loc[[PATIENT]].to_string(index=False))
women = data.iloc[train]
like_her = (women["tgrade"] == "I") & (women["pnodes"] >= 10)
print(f"women with grade I and ten nodes or more in the training data: {like_her.sum()}")

years = [1, 3, 5]


def compare(row):
    """Print both models' survival for a patient, and the ensemble's band of level 0.9."""
    lower, upper = ensemble.predict_survival_interval(row, level=0.9, times=years)
    curves = {
        "Ensemble": ensemble.predict_survival_function(row, times=years),
        "  lower bound": lower,
        "  upper bound": upper,
        "Linear model": linear.predict_survival_function(row, times=years),
    }
    print(f"\n{'survival at years':20}" + "".join(f"{year:8}" for year in years))
    for name, (values,) in curves.items():
        print(f"{name:20}" + "".join(f"{value:8.2f}" for value in values))


compare(patient)

# %%
# At five years the models differ by 22 percentage points. But the band of the ensemble reaches from
# 14 to 70 %, and the linear model's 66 % are within it. So the difference may be chance: the data
# do not tell which of the two is right for her.
#
# A second patient
# ----------------
# This woman has three affected nodes and grade II, like many others. The ensemble predicts nearly
# the same curve for her, but knows it better: at five years the band is half as wide.

OTHER = 130
assert OTHER in X_test.index
print("\n" + data.loc[[OTHER]].to_string(index=False))
like_her = (women["tgrade"] == "II") & women["pnodes"].between(2, 4)
print(f"women with grade II and two to four nodes in the training data: {like_her.sum()}")
compare(X.loc[[OTHER]])

# %%
# All patients held out
# ---------------------
# Is there anybody for whom the ensemble contradicts the linear model?

lower, upper = ensemble.predict_survival_interval(X_test, level=0.9, times=years)
survival = linear.predict_survival_function(X_test, times=years)
inside = (lower <= survival) & (survival <= upper)
width = 100 * (upper - lower).mean(axis=0)
print(f"\n{'years':32}" + "".join(f"{year:8}" for year in years))
print(f"{'women, linear model within band':32}" + "".join(f"{n:8}" for n in inside.sum(axis=0)))
print(f"{'women, linear model outside':32}" + "".join(f"{n:8}" for n in (~inside).sum(axis=0)))
print(f"{'mean width of the band, %':32}" + "".join(f"{each:8.1f}" for each in width))

# %%
# For one woman of 172. With 514 women to learn from, bands of level 0.9 are wide: 36 percentage
# points at five years, on average. That the linear model is within them does not prove it right,
# since many other models would be within them as well.
#
# When will it be?
# ----------------
# The band is for the curve. The time of a woman's own event is less certain: even if her curve were
# known exactly, chance would decide when the event happens. ``predict_time_interval`` includes
# this chance.

first, last = ensemble.predict_time_interval(patient, level=0.5)
print(f"\ntime of her event, level 0.5: {first[0]:.1f} to {last[0]:.1f} years")
event, time = y[PATIENT]
print(f"observed: {'event' if event else 'censored'} after {time:.1f} years")

# %%
# With a probability of three quarters the event is after the lower bound. There is no upper bound,
# because the follow-up of seven years is too short for one. Her event came after 2.6 years, which
# is within the interval. One event does not tell which of the two curves is right.
#
# The picture
# -----------
# Left: the first patient, with both models. Middle: both patients, with the ensemble. Their curves
# are close to each other, but one band is much wider. Right: D-calibration of both models on all
# women held out. If the predicted curves are right, each tenth of predicted survival has a tenth of
# the women, up to chance. Both p-values are high, so the test finds no fault in either model.

figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
draw = SurvivalFunctionDisplay.from_estimator
unit = {"time_unit": "years"}
draw(ensemble, patient, level=0.9, name="Ensemble", ax=axes[0], **unit)
draw(linear, patient, name="Linear model", ax=axes[0], color="black", linestyle="--", **unit)
draw(ensemble, patient, level=0.9, name="11 nodes", ax=axes[1], **unit)
draw(ensemble, X.loc[[OTHER]], level=0.9, name="3 nodes", ax=axes[1], **unit)
print("\np-value of D-calibration")
for name, model in models.items():
    display = DCalibrationDisplay.from_estimator(model, X_test, y_test, name=name, ax=axes[2])
    print(f"{name:12}{display.result.pvalue:6.2f}")
for axis, title in zip(
    axes, ("One patient, two models", "Two patients, one model", "D-calibration"), strict=True
):
    axis.set_title(title)
figure.savefig("plot_patient_band.png", dpi=150)
print("\nCurves with bands, and D-calibration: plot_patient_band.png")
