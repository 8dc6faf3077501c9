"""
Which cause comes first?
========================

People die of one cause only. A model of competing risks predicts the probability of each cause over
time, and that of being alive; together they are 1. Are the predictions right, what would 1 - S of a
Cox model say instead, and why does a feature have two effects?
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sksurv.datasets import load_flchain
from sksurv.nonparametric import cumulative_incidence_competing_risks
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.displays import CumulativeIncidenceDisplay, IncidenceCalibrationDisplay
from sksurvtorch.metrics import incidence_calibration
from sksurvtorch.nets import competing_risks_y

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# 7874 people aged 50 or more, followed for up to 14 years from a blood sample in which two proteins
# (kappa and lambda free light chains) were measured. The chapter of the death certificate becomes
# one of three causes. It is the outcome, and no feature.

CAUSES = ["Circulatory disease", "Cancer", "Other causes"]
data, target = load_flchain()
chapter = data["chapter"].astype(object)
status = np.select(
    [~target["death"], chapter == "Circulatory", chapter == "Neoplasms"], [0, 1, 2], default=3
)
y = competing_risks_y(status, np.maximum(target["futime"], 0.5) / 365.25)
X = data[["age"]].assign(
    man=(data["sex"] == "M").astype(float),
    kappa=np.log2(data["kappa"]),
    **{"lambda": np.log2(data["lambda"])},
)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y["status"], random_state=0
)
print(f"{len(y_train)} people to learn from, {len(y_test)} held out")
for cause, name in enumerate(CAUSES, start=1):
    n_train, n_test = ((part["status"] == cause).sum() for part in (y_train, y_test))
    print(f"{name:20}{n_train:6d}{n_test:6d}")

# %%
# One network, three causes
# -------------------------
# One network and 20 epochs keep the example short; 15 networks are the default. Wolbers'
# concordance index judges how well the people held out are ordered by the hazard of a cause.

settings = {"n_estimators": 1, "batch_size": 512, "max_epochs": 20, "random_state": 0}
model = CompetingRisksNNRegressor(**settings).fit(X_train, y_train)
print("\nconcordance, held out")
for cause, name in enumerate(CAUSES, start=1):
    print(f"{name:20}{model.set_params(cause=cause).score(X_test, y_test):.2f}")

# %%
# Deaths of circulatory disease are ordered better than those of cancer.
#
# One person
# ----------
# A woman of 80 years with mean light chains. Time lost is the area of a cause: how much of the next
# ten years she loses to it on average.

person = X_train.mean().to_frame().T.assign(age=80.0, man=0.0)
incidence = model.predict_cumulative_incidence(person, times=[10])[0, :, 0]
lost = model.predict_restricted_mean_time_lost(person, until=10)[0]
print("\na woman of 80, in ten years   probability   years lost")
for name, probability, time in zip(CAUSES, incidence, lost, strict=True):
    print(f"{name:30}{probability:11.2f}{time:13.1f}")
alive = model.predict_survival_function(person, times=[10])[0, 0]
print(f"{'Alive':30}{alive:11.2f}{10 - lost.sum():13.1f}")

# %%
# Are the probabilities right?
# ----------------------------
# People held out are grouped by their predicted probability of a circulatory death within ten
# years. The mean of a group should be near its Aalen-Johansen estimate, which counts deaths of
# other causes as what they are: no circulatory death any more.
#
# A Cox model of circulatory deaths, in which all other deaths are censored, estimates the same
# hazard. But 1 - S takes those who have died of something else for people who may still die of
# circulatory disease.

censored = Surv.from_arrays(y_train["status"] == 1, y_train["time"])
cox = CoxNNRegressor(**settings).fit(X_train, censored)
predicted = {
    "incidence": model.predict_cumulative_incidence(X_test, cause=1, times=[10])[:, 0],
    "1 - S": 1 - cox.predict_survival_function(X_test, times=[10])[:, 0],
}
oldest = (X_test["age"] >= 80).to_numpy()
time, observed, interval = cumulative_incidence_competing_risks(
    y_test["status"][oldest], y_test["time"][oldest], conf_type="log-log"
)
last = np.flatnonzero(time <= 10)[-1]
print("\ncirculatory death within ten years, by fifths of predicted risk")
for name, values in predicted.items():
    groups = incidence_calibration(y_test, values, 10, cause=1, n_groups=5)
    for kind in ("predicted", "observed"):
        row = "".join(f"{value:8.3f}" for value in getattr(groups, kind))
        print(f"{name + ', ' + kind:22}{row}")
print(f"... of the {oldest.sum()} people aged 80 or more")
for name, values in predicted.items():
    print(f"{name:22}{values[oldest].mean():8.3f}")
print(f"{'Aalen-Johansen':22}{observed[1][last]:8.3f}")
print(f"{'  lower end':22}{interval[1][0, last]:8.3f}")
print(f"{'  upper end':22}{interval[1][1, last]:8.3f}")

# %%
# The incidences are close to what was observed in the groups, though a little too high where the
# risk is low. For the oldest 1 - S is half as much again as the observed incidence, and far outside
# its interval: many of them die of something else. In the groups of low risk, where few die, the
# two predictions hardly differ.
#
# Two effects of age
# ------------------
# How do the hazard of a cause, and its incidence within ten years, change with age, for women with
# mean light chains? Both are divided by their values at 60.

ages = np.arange(60, 96)
women = X_train.mean().to_frame().T.assign(man=0.0)
women = women.loc[women.index.repeat(len(ages))].assign(age=ages.astype(float))
log_hazard = model.predict_log_hazard_ratio(women)
hazard = np.exp(log_hazard - log_hazard[0])
by_age = model.predict_cumulative_incidence(women, times=[10])[:, :, 0]
by_age /= by_age[0]
shown = np.isin(ages, [60, 70, 80, 90, 95])
print(f"\n{'relative to the age of 60':30}" + "".join(f"{age:8d}" for age in ages[shown]))
for k, name in enumerate(CAUSES):
    for kind, values in (("hazard", hazard), ("incidence", by_age)):
        row = "".join(f"{value:8.1f}" for value in values[shown, k])
        print(f"{name + ', ' + kind:30}{row}")

# %%
# The hazard of every cause rises with age. The incidence follows it as long as few people die.
# Later it rises less, and that of cancer falls in the end, although its hazard still rises: the
# other causes leave fewer people who could die of cancer. To ask why people die of cancer, look at
# the hazard; to ask how many will, at the incidence. ``hazard="subdistribution"`` is a model of
# the second.

times = np.linspace(0, 13, 200)
figure = plt.figure(figsize=(12.5, 10.5), layout="constrained")
rows = figure.subfigures(2, 1, height_ratios=(1.2, 1), hspace=0.04)
axes = [row.subplots(1, 2) for row in rows]
CumulativeIncidenceDisplay.from_estimator(
    model,
    person,
    times=times,
    cause_names=CAUSES,
    no_event_name="Alive",
    time_unit="years",
    ax=axes[0][0],
)
axes[0][0].set_title("A woman of 80")
IncidenceCalibrationDisplay.from_estimator(
    model,
    X_test,
    y_test,
    cause=1,
    times=times,
    n_groups=4,
    cause_name="circulatory death",
    time_unit="years",
    ax=axes[0][1],
)
axes[0][1].set_title("Held out, in quarters of predicted risk")

curves = {
    "1 - S, other deaths censored": 1 - cox.predict_survival_function(X_test[oldest], times=times),
    "Incidence": model.predict_cumulative_incidence(X_test[oldest], cause=1, times=times),
}
axis = axes[1][0]
for (name, values), color in zip(curves.items(), ("#BB5566", "#004488"), strict=True):
    axis.plot(times, values.mean(axis=0), "--", color=color, lw=2.2, label=f"{name}, predicted")
until = np.searchsorted(time, 13)
axis.step(time[:until], observed[1][:until], where="post", color="black", lw=1.5)
axis.lines[-1].set_label("Aalen-Johansen, 95 % confidence")
band = interval[1][:, :until]
axis.fill_between(time[:until], *band, step="post", color="black", alpha=0.12, lw=0)
axis.set(
    title="Held out, aged 80 or more",
    xlabel="Time (years)",
    ylabel="Probability of circulatory death",
    xlim=(0, 13),
)
axis.set_ylim(bottom=0)
axis.legend(frameon=False, loc="upper left")

axis = axes[1][1]
for k, color in enumerate(("#004488", "#DDAA33", "#BB5566")):
    axis.plot(ages, hazard[:, k], color=color, lw=2, label=CAUSES[k])
    axis.plot(ages, by_age[:, k], "--", color=color, lw=2)
axis.plot([], [], color="0.3", lw=2, label="Hazard")
axis.plot([], [], "--", color="0.3", lw=2, label="Incidence in ten years")
axis.set(
    title="Two effects of age, women",
    xlabel="Age (years)",
    ylabel="Relative to the age of 60",
    yscale="log",
    xlim=(60, 95),
)
axis.yaxis.set_major_formatter("{x:g}")
axis.legend(frameon=False, loc="upper left")
for axis in axes[1]:
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig("plot_competing_risks.png", dpi=150)
print("\nIncidences, calibration and the effects of age: plot_competing_risks.png")
