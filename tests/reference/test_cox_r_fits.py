"""The Cox loss gives what R's survival package prints: fitted models.

Sources, all by T. Therneau's package `survival` under R:
[ex] tests/Examples/survival-Ex.Rout.save in github.com/therneau/survival (R-devel of 2023-01-09).
[ovarian], [cancer], [book] tests/ovarian, cancer and doweight.Rout.save in the same repository.
[json] github.com/Cameron-Lyons/survival: test/r_expected_values.json (R 4.5.2, survival 3.8.9).
[web] numbers printed by R in public notebooks; each is one more run of a data set that R ships.
"""

import lifelines.datasets
import numpy as np
import pytest
import torch
from sksurv.datasets import load_veterans_lung_cancer

from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests.cohorts import value_and_gradient
from tests.reference.r_examples import (
    TEST2,
    TEST2_X,
    TESTW1,
    TESTW1_X,
    TESTW3,
    TESTW3_X,
    target,
    tensor,
)


def maximum(x, columns, ties="efron"):
    """Coefficients at the maximum, and the log-likelihood at zero and there, by Newton's method."""
    mean, scale = x.mean(0), x.std(0)
    standard = (x - mean) / scale
    beta = torch.zeros(x.shape[1]).double()

    def score(at):
        loss, gradient = value_and_gradient(
            cox, standard @ at, **columns, ties=ties, reduction="sum"
        )
        return loss, standard.T @ gradient

    step = 1e-4 * torch.eye(len(beta)).double()
    null, slope = score(beta)
    for _ in range(8):
        hessian = torch.stack([score(beta + h)[1] - score(beta - h)[1] for h in step]) / 2e-4
        beta = beta - torch.linalg.solve(hessian, slope)
        loss, slope = score(beta)
    assert slope.abs().max() < 1e-8
    return (beta / scale).tolist(), -null.item(), -loss.item()


def assert_printed(value, printed):
    """`printed` is the value rounded to the digits shown."""
    digits = len(printed.partition(".")[2])
    assert abs(value - float(printed)) <= 0.5000001 * 10.0**-digits, (value, printed)


# [json], [ovarian]
OVARIAN = """
    59 1 72.3315 2 1 1   115 1 74.4932 2 1 1  156 1 66.4658 2 1 2   421 0 53.3644 2 2 1
    431 1 50.3397 2 1 1  448 0 56.4301 1 1 2  464 1 56.9370 2 2 2   475 1 59.8548 2 2 2
    477 0 64.1753 2 1 1  563 1 55.1781 1 2 2  638 1 56.7562 1 1 2   744 0 50.1096 1 2 1
    769 0 59.6301 2 2 2  770 0 57.0521 2 2 1  803 0 39.2712 1 1 1   855 0 43.1233 1 1 2
    1040 0 38.8932 2 1 2 1106 0 44.6000 1 1 1 1129 0 53.9068 1 2 1  1206 0 44.2055 2 2 1
    1227 0 59.5890 1 2 2 268 1 74.5041 2 1 2  329 1 43.1370 2 1 1   353 1 63.2192 1 2 2
    365 1 64.4247 2 2 1  377 0 58.3096 1 2 1
"""
OVARIAN = np.array(OVARIAN.split(), dtype=float).reshape(26, 6)


def ovarian(names):
    where = {"age": 2, "resid": 3, "rx": 4, "ecog": 5}
    columns = target(OVARIAN[:, 0], OVARIAN[:, 1])
    for name in names:
        if name == "strata(rx)":
            columns["stratum"] = tensor(OVARIAN[:, 4]).long()
    return tensor(OVARIAN[:, [where[name] for name in names if name in where]]), columns


def complete(frame, names, *needed):
    frame = frame.dropna(subset=[*names, *needed])
    return frame, tensor(frame[list(names)])


def lung(names):
    frame, x = complete(
        lifelines.datasets.load_lung(),
        [name for name in names if not name.startswith(("strata", "start"))],
        *(["inst"] if "strata(inst)" in names else []),
    )
    columns = target(frame["time"], frame["status"])
    if "strata(inst)" in names:
        columns["stratum"] = tensor(frame["inst"]).long()
    if "start=0" in names:
        columns["entry"] = torch.zeros(len(frame)).double()
    return x, columns


def rossi(names):
    frame = lifelines.datasets.load_rossi()
    # In R: race is 'black' or 'other', mar 'married' or 'not married'.
    frame["raceother"], frame["not married"] = 1 - frame["race"], 1 - frame["mar"]
    return tensor(frame[list(names)]), target(frame["week"], frame["arrest"])


def heart(names):
    frame = lifelines.datasets.load_stanford_heart_transplants()
    columns = target(frame["stop"], frame["event"], entry=frame["start"])
    if "strata(surgery)" in names:
        columns["stratum"] = tensor(frame["surgery"]).long()
    return tensor(frame[[name for name in names if name in frame]]), columns


def veteran(names):
    frame, y = load_veterans_lung_cancer()
    for cell in ("smallcell", "adeno", "large"):
        frame[cell] = frame["Celltype"] == cell
    frame["test"] = frame["Treatment"] == "test"
    frame["prior"] = frame["Prior_therapy"] == "yes"
    frame = frame.rename(
        columns={
            "Age_in_years": "age",
            "Karnofsky_score": "karno",
            "Months_from_Diagnosis": "diagtime",
        }
    )
    columns = target(y["Survival_in_days"], y["Status"])
    if "strata(karno > 50)" in names:
        columns["stratum"] = tensor(frame["karno"] > 50).long()
    return tensor(frame[[name for name in names if name in frame]].astype(float)), columns


STRATIFIED = ["ph.ecog", "ph.karno", "pat.karno", "wt.loss", "sex", "age", "meal.cal"]
STRATIFIED_FIT = (
    "0.7299987 0.0130512 -0.0140955 -0.0148821 -0.6612534 0.0050920 -0.0002398",
    {"lr": "30.6"},
)
CELLS = ["test", "smallcell", "adeno", "large", "age"]
FITS = [
    # [ex] anova.coxph; the log-likelihoods run from that of no covariate.
    (ovarian, ["resid"], "efron", "1.21", {"null": "-34.985", "fit": "-33.105", "lr": "3.7594"}),
    (ovarian, ["resid", "rx"], "efron", None, {"fit": "-32.269"}),
    (ovarian, ["resid", "rx", "ecog"], "efron", "1.347 -0.749 0.453", {"fit": "-31.970"}),
    # [json]
    (
        ovarian,
        ["rx", "age"],
        "efron",
        "-0.80397301 0.14732660",
        {"null": "-34.9849403712", "fit": "-27.041898863"},
    ),
    # [ovarian], [ex]
    (ovarian, ["age", "rx", "ecog"], "breslow", "0.147 -0.815 0.103", {"lr": "15.9"}),
    (ovarian, ["age", "ecog", "strata(rx)"], "efron", "0.13853 -0.09670", {"lr": "12.71"}),
    (ovarian, ["age", "strata(rx)"], "efron", "0.13735", {"lr": "12.69"}),
    # [ex] summary.coxph
    (lung, ["age", "sex"], "efron", "0.017045 -0.513219", {"lr": "14.12"}),
    # [web] R tutorials, and the documentation of vantage6's vtg.coxph for Breslow
    (lung, ["sex"], "efron", "-0.5310", {"lr": "10.63"}),
    (lung, ["sex"], "breslow", "-0.5304", {"lr": "10.61"}),
    # [cancer] 18 strata, as time and as (0, time]
    (lung, [*STRATIFIED, "strata(inst)"], "efron", *STRATIFIED_FIT),
    (lung, [*STRATIFIED, "strata(inst)", "start=0"], "efron", *STRATIFIED_FIT),
    # [web] Fox and Weisberg, Cox regression for survival data in R; zadrafi/concurve
    (
        rossi,
        ["fin", "age", "raceother", "wexp", "not married", "paro", "prio"],
        "efron",
        "-0.37942 -0.05744 -0.31390 -0.14980 0.43370 -0.08487 0.09150",
        {"lr": "33.27"},
    ),
    # [web] Stanford heart transplant: rows (start, stop]
    (
        heart,
        ["age", "year", "surgery", "transplant"],
        "efron",
        "0.02717 -0.14635 -0.63721 -0.01025",
        {"lr": "15.11"},
    ),
    (
        heart,
        ["age", "year", "transplant", "strata(surgery)"],
        "efron",
        "0.02681 -0.14924 -0.02178",
        {"lr": "10.17"},
    ),
    # [web] Veterans' Administration lung cancer, summary and anova
    (
        veteran,
        [*CELLS, "karno", "diagtime", "prior"],
        "efron",
        "0.29460282 0.86156046 1.19606637 0.40129165 -0.00870647 -0.03281533 0.00008132 0.07159360",
        {"fit": "-474.40", "lr": "62.1"},
    ),
    (
        veteran,
        [*CELLS, "karno", "diagtime"],
        "efron",
        "0.298380 0.851206 1.183667 0.401001 -0.008706 -0.032586 0.001339",
        {"fit": "-474.44", "lr": "62.01"},
    ),
    (
        veteran,
        [*CELLS, "diagtime"],
        "efron",
        "0.164098 1.051322 1.200909 0.290214 0.004999 0.008860",
        {"fit": "-491.94", "lr": "27.03"},
    ),
    (
        veteran,
        ["smallcell", "adeno", "large", "strata(karno > 50)"],
        "efron",
        "0.8983 1.1069 0.2842",
        {"lr": "19.31"},
    ),
]


@pytest.mark.parametrize(
    ("data", "names", "ties", "coefficients", "printed"),
    FITS,
    ids=[f"{data.__name__}-{'+'.join(names)}-{ties}" for data, names, ties, *_ in FITS],
)
def test_maximum_likelihood_gives_the_digits_that_r_prints(
    data, names, ties, coefficients, printed
):
    x, columns = data(names)
    beta, null, fit = maximum(x, columns, ties)
    if coefficients is not None:
        for ours, digits in zip(beta, coefficients.split(), strict=True):
            assert_printed(ours, digits)
    for ours, what in ((null, "null"), (fit, "fit"), (2 * (fit - null), "lr")):
        if what in printed:
            assert_printed(ours, printed[what])


@pytest.mark.parametrize(
    ("columns", "x", "ties", "coefficient", "lr"),
    [
        (
            target([4, 3, 1, 1, 2, 2, 3], [1, 1, 1, 0, 1, 1, 0], stratum=[0, 0, 0, 0, 1, 1, 1]),
            [0, 2, 1, 1, 1, 0, 0],
            "efron",
            "0.8023",
            "1.09",
        ),
        (TEST2, TEST2_X, "efron", "-0.02111", "0"),
        (TESTW1, TESTW1_X, "breslow", "0.8596", "1.69"),
        (TESTW1, TESTW1_X, "efron", "0.8726", "1.75"),
        (TESTW3, TESTW3_X, "breslow", "0.8596", "1.69"),
        (TESTW3, TESTW3_X, "efron", "0.8726", "1.75"),
    ],
    ids=["help-strata", "2-efron", "w-breslow", "w-efron", "w3-breslow", "w3-efron"],
)
def test_fits_of_the_small_examples(columns, x, ties, coefficient, lr):
    """[ex] coxph; [book] doweight."""
    (beta,), null, fit = maximum(tensor(x)[:, None], columns, ties)
    assert_printed(beta, coefficient)
    assert_printed(2 * (fit - null), lr)
