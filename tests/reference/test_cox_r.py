"""The Cox loss gives what R's survival package prints.

Sources, all by T. Therneau's package `survival` under R:
[book] tests/book1 to book6.Rout.save and tests/doweight.Rout.save in github.com/therneau/survival:
  the worked examples of Therneau and Grambsch (2000), appendix E. There R is compared with closed
  forms in r = exp(beta), which are the ones below.
[ex] tests/Examples/survival-Ex.Rout.save in the same repository (R-devel of 2023-01-09).
[ovarian], [cancer] tests/ovarian.Rout.save and tests/cancer.Rout.save in the same repository.
[json] github.com/Cameron-Lyons/survival: python/tests/fixtures/cox_lowlevel_reference.json (R
  4.5.3, survival 3.8.12) and test/r_expected_values.json (R 4.5.2, survival 3.8.9).
[web] numbers printed by R in public notebooks; each is one more run of a data set that R ships.
"""

import math

import lifelines.datasets
import numpy as np
import pytest
import torch
from sksurv.datasets import load_veterans_lung_cancer

from sksurvtorch.functional import breslow_baseline
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests.cohorts import assert_close, value_and_gradient


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64).copy())


def target(time, event, **others):
    columns = {"time": tensor(time), "event": tensor(event).bool()}
    for name, values in others.items():
        columns[name] = tensor(values).long() if name == "stratum" else tensor(values)
    return columns


# [book], rows sorted by nothing in particular.
TEST1 = target([9, 1, 1, 6, 6, 8], [1, 1, 0, 1, 1, 0])
TEST1_X = tensor([0, 1, 1, 1, 0, 0])
TEST2 = target(
    [2, 3, 6, 7, 8, 9, 9, 9, 14, 17],
    [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    entry=[1, 2, 5, 2, 1, 7, 3, 4, 8, 8],
)
TEST2_X = tensor([1, 0, 0, 1, 0, 1, 1, 1, 0, 0])
TEST2B = target(  # three copies, each moved by the number of its stratum
    torch.cat([TEST2["time"] + k for k in (1, 2, 3)]),
    TEST2["event"].repeat(3),
    entry=torch.cat([TEST2["entry"] + k for k in (1, 2, 3)]),
    stratum=torch.arange(1, 4).repeat_interleave(10),
)
TESTW1 = target(
    [1, 1, 2, 2, 2, 2, 3, 4, 5], [1, 0, 1, 1, 1, 0, 0, 1, 0], weight=[1, 2, 3, 4, 3, 2, 1, 2, 1]
)
TESTW1_X = tensor([2, 0, 1, 1, 0, 1, 0, 1, 0])
TESTW3 = target(  # TESTW1 as counting-process rows, on another time scale
    [5, 10, 10, 10, 15, 20, 20, 14, 20, 20, 30, 23, 40, 50],
    [0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0],
    entry=[0, 5, 0, 0, 10, 15, 0, 0, 14, 0, 0, 0, 23, 0],
    weight=[1, 1, 2, 3, 3, 3, 4, 3, 3, 2, 1, 2, 2, 1],
)
TESTW3_X = tensor([2, 2, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1, 0])
TESTW3_ID = torch.tensor([1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, 8, 9]) - 1

log = math.log
CLOSED_FORMS = {
    "1-breslow": (TEST1, TEST1_X, lambda b, r: 2 * b - log(3 * r + 3) - 2 * log(r + 3)),
    "1-efron": (
        TEST1,
        TEST1_X,
        lambda b, r: 2 * b - log(3 * r + 3) - log((r + 5) / 2) - log(r + 3),
    ),
    "2-breslow": (
        TEST2,
        TEST2_X,
        lambda b, r: 4 * b - log(r + 1) - log(r + 2) - 3 * log(3 * r + 2) - 2 * log(3 * r + 1),
    ),
    "2-efron": (
        TEST2,
        TEST2_X,
        lambda b, r: (
            4 * b
            - log(r + 1)
            - log(r + 2)
            - 2 * log(3 * r + 2)
            - 2 * log(3 * r + 1)
            - log(2 * r + 2)
        ),
    ),
    "w-breslow": (
        TESTW1,
        TESTW1_X,
        lambda b, r: 11 * b - log(r**2 + 11 * r + 7) - 10 * log(11 * r + 5) - 2 * log(2 * r + 1),
    ),
    # a = 7 r + 3 are the tied events, b = 4 r + 2 the others at risk; 10/3 is the mean weight.
    "w-efron": (
        TESTW1,
        TESTW1_X,
        lambda b, r: (
            11 * b
            - log(r**2 + 11 * r + 7)
            - 10 / 3 * (log(11 * r + 5) + log(26 / 3 * r + 4) + log(19 / 3 * r + 3))
            - 2 * log(2 * r + 1)
        ),
    ),
}
CLOSED_FORMS["2b-breslow"] = TEST2B, TEST2_X.repeat(3), lambda b, r: 3 * _of("2-breslow")(b, r)
CLOSED_FORMS["2b-efron"] = TEST2B, TEST2_X.repeat(3), lambda b, r: 3 * _of("2-efron")(b, r)
CLOSED_FORMS["w3-breslow"] = TESTW3, TESTW3_X, lambda b, r: _of("w-breslow")(b, r)
CLOSED_FORMS["w3-efron"] = TESTW3, TESTW3_X, lambda b, r: _of("w-efron")(b, r)


def _of(name):
    return CLOSED_FORMS[name][2]


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("beta", [0.0, 1.4752849, -0.0845261, -3.0, 20.0])
def test_log_likelihoods_of_the_book(name, beta):
    columns, x, log_likelihood = CLOSED_FORMS[name]
    loss = cox(beta * x, **columns, ties=name.split("-")[1], reduction="sum")
    assert_close(-loss, tensor(log_likelihood(beta, math.exp(beta))))


@pytest.mark.parametrize(
    ("columns", "x", "ties", "beta"),
    [
        (TEST1, TEST1_X, "breslow", log(1.5 + math.sqrt(33) / 2)),
        (
            TEST1,
            TEST1_X,
            "efron",
            log(math.cos(math.acos(45 / 23 * math.sqrt(3 / 23)) / 3) * 2 * math.sqrt(23 / 3)),
        ),
    ],
)
def test_maximum_of_the_book_in_closed_form(columns, x, ties, beta):
    _, gradient = value_and_gradient(cox, beta * x, **columns, ties=ties, reduction="sum")
    assert_close(gradient @ x, tensor(0.0))


@pytest.mark.parametrize(
    ("columns", "x", "ties", "beta", "identity", "residual"),
    [
        (TEST1, TEST1_X, "breslow", 0.0, None, [-2 / 3, 5 / 6, -1 / 6, 1 / 3, 1 / 3, -2 / 3]),
        (TEST1, TEST1_X, "efron", 0.0, None, [-3 / 4, 5 / 6, -1 / 6, 5 / 12, 5 / 12, -3 / 4]),
        (
            TEST1,
            TEST1_X,
            "efron",
            1.676857,
            None,
            [-0.3655434, 0.7191707, -0.2808293, -0.4383414, 0.7310869, -0.3655434],
        ),
        (
            TEST2,
            TEST2_X,
            "breslow",
            -0.084526081,
            None,
            [
                *(0.52111895, 0.65741078, 0.78977654, 0.24738772, -0.60629349),
                *(0.36902492, -0.06876579, -1.06876579, -0.42044692, -0.42044692),
            ],
        ),
        (
            TESTW1,
            TESTW1_X,
            "efron",
            0.0,
            None,
            [
                *(0.94736842, -0.05263158, 0.44454887, 0.44454887, 0.44454887),
                *(-0.88126566, -0.88126566, -0.54793233, -1.54793233),
            ],
        ),
        (
            TESTW3,
            TESTW3_X,
            "breslow",
            0.0,
            TESTW3_ID,
            [
                *(0.94736842, -0.05263158, 0.32236842, 0.32236842, 0.32236842),
                *(-0.67763158, -0.67763158, -0.34429825, -1.34429825),
            ],
        ),
    ],
    ids=["1-breslow", "1-efron", "1-efron-fit", "2-breslow-fit", "w-efron", "w3-breslow"],
)
def test_gradient_is_minus_weight_times_martingale_residual(
    columns, x, ties, beta, identity, residual
):
    """[book]: printed, or in closed form at beta = 0. `identity`: rows of one subject add up."""
    _, gradient = value_and_gradient(cox, beta * x, **columns, ties=ties, reduction="sum")
    ours = -gradient / columns.get("weight", torch.ones(len(x)))
    if identity is not None:
        ours = torch.zeros(9).double().index_add(0, identity, ours)
    # Eight printed digits, six of them in beta where the fit is not at zero.
    assert_close(ours, tensor(residual), 1e-6 if beta == 1.676857 else 1e-8)


@pytest.mark.parametrize("beta", [0.0, 1.4752849, -2.0])
@pytest.mark.parametrize(
    ("columns", "x", "times", "hazard"),
    [
        (TEST1, TEST1_X, [1, 6, 9], lambda r: [1 / (3 * r + 3), 2 / (r + 3), 1]),
        (
            TEST2,
            TEST2_X,
            [2, 3, 6, 7, 8, 9],
            lambda r: [
                *(1 / (r + 1), 1 / (r + 2), 1 / (3 * r + 2)),
                *(1 / (3 * r + 1), 1 / (3 * r + 1), 2 / (3 * r + 2)),
            ],
        ),
        (
            TESTW1,
            TESTW1_X,
            [1, 2, 4],
            lambda r: [1 / (r**2 + 11 * r + 7), 10 / (11 * r + 5), 2 / (2 * r + 1)],
        ),
    ],
    ids=["1", "2", "w"],
)
def test_breslow_hazards_of_the_book(columns, x, times, hazard, beta):
    baseline = breslow_baseline(beta * x, **columns)
    assert baseline.stratum is None
    assert baseline.times.tolist() == times
    expected = np.log(np.cumsum(hazard(math.exp(beta))))
    assert_close(baseline.log_cumulative_hazard, tensor(expected))


# [json]: twelve rows, and what coxph.fit and agreg.fit return for them.
X12 = tensor([[2, -1, 3, 0, 1, 2, -2, 0, 3, 1, -1, 2], [0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0]]).T
TIME12 = target([4, 2, 7, 3, 5, 2, 8, 6, 4, 9, 6, 10], [1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0])
ENTRY12 = {"entry": tensor([1, 0, 3, 0, 2, 0, 5, 1, 0, 4, 3, 2])}
STRATUM12 = {"stratum": torch.tensor([2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1])}
WEIGHT12 = {"weight": tensor([0.5, 1, 2] * 4)}
OFFSET12 = torch.arange(12).double() / 10 + 1.2
FITS12 = {
    "efron": (
        {},
        0.0,
        [-0.194767058828801, -0.116497549546807],
        [-14.5935869493095, -14.2739872196364],
        [
            *(0.706422389531196, 0.892156432569928, -0.428178761130273, 0.77933934206852),
            *(0.506056443716775, -0.0675506779378709, -0.616240202985244, -0.86293511306003),
            *(0.758377890094621, -0.42060373768851, 0.0668098267834325, -1.31365383196254),
        ],
    ),
    "breslow": (
        {"ties": "breslow"},
        0.0,
        [-0.201150370429806, -0.0957171377192432],
        [-14.7113699849659, -14.3615998091116],
        [
            *(0.671403692063521, 0.890173488643218, -0.417773860896736, 0.781226612632287),
            *(0.513478197583192, -0.0660999491585267, -0.632586969028093, -0.840593787928669),
            *(0.731277405746281, -0.41922983730318, 0.0659389826067074, -1.27721397496),
        ],
    ),
    "strata, offset": (
        STRATUM12,
        OFFSET12,
        [-0.176455825474906, -0.444400690269939],
        [-11.6253695038755, -11.4033416227106],
        [
            *(0.669964110887483, 0.921589323584759, -0.226312415113854, 0.732027764123714),
            *(0.726900427623532, -0.107446528089509, -0.338129955711007, -0.988001858813889),
            *(0.729094498717377, -1.06386191930019, -0.0201854610832397, -1.03563798682518),
        ],
    ),
    "weights": (
        WEIGHT12,
        0.0,
        [-0.228945655176426, 0.12245466355159],
        [-14.5908066778805, -14.0482307625548],
        [
            *(0.764313395680596, 0.87722464623834, -0.430596245077197, 0.857348078231036),
            *(0.465124761846646, -0.0546563096848374, -0.695282788425389, -0.75714377796099),
            *(0.812541531499266, -0.115143497977889, -0.075943774728954, -0.784728701311842),
        ],
    ),
    "entry": (
        ENTRY12,
        0.0,
        [-0.306771478158701, 0.420400050015421],
        [-12.6964669644236, -11.6241255074663],
        [
            *(0.651926590533542, 0.627199329543958, -0.369437040650253, 0.602518855400721),
            *(0.211665622833369, -0.0975465204226128, 0.0263760600269549, -1.00652770562184),
            *(0.743881065082607, -0.235552894361132, -0.260251077362739, -0.894252285002574),
        ],
    ),
    "entry, breslow": (
        {**ENTRY12, "ties": "breslow"},
        0.0,
        [-0.313824640292705, 0.443704253018251],
        [-12.8506176442509, -11.7008651189704],
        [
            *(0.61989257423086, 0.618476599720421, -0.357571224148231, 0.603572913620665),
            *(0.219115785765347, -0.0954873723944811, 0.0138950928347539, -0.984648975130487),
            *(0.722275595330541, -0.23923965065371, -0.254676603428939, -0.86560473574674),
        ],
    ),
    "entry, strata, offset": (
        {**ENTRY12, **STRATUM12},
        OFFSET12,
        [-0.235545164486787, 1.34166720422689],
        [-8.13232575553051, -6.63963846992867],
        [
            *(-0.316243293420263, 0.436276401708575, -0.308009326601269, 0.316243293420266),
            *(0.630398706011323, -0.108446976723044, 0.399719140418926, -0.481266445859142),
            *(0.840351010761269, -0.399719140418927, -0.758665781118628, -0.250637588179085),
        ],
    ),
    "entry, weights": (
        {**ENTRY12, **WEIGHT12},
        0.0,
        # The slopes between rows 2 and 11, 1 and 3 of the printed linear predictor.
        [-0.289875851530091, 0.502392876372282],
        [-13.339011152143, -12.2394666285052],
        [
            *(0.71617043761231, 0.628634808002952, -0.402821257025766, 0.731339208293392),
            *(0.31483335591122, -0.0941760113434515, 0.162947982204867, -0.850228621161474),
            *(0.787594310859037, 0.130070679738478, -0.284334980834311, -0.630181400411273),
        ],
    ),
}


@pytest.mark.parametrize("name", FITS12)
def test_log_likelihoods_and_residuals_of_coxph_fit(name):
    """Fifteen digits, with strata, entry, weights and offset."""
    options, offset, beta, log_likelihoods, residual = FITS12[name]
    for slope, expected in zip((0.0, 1.0), log_likelihoods, strict=True):
        loss, gradient = value_and_gradient(
            cox, slope * X12 @ tensor(beta) + offset, **TIME12, **options, reduction="sum"
        )
        assert_close(-loss, tensor(expected), 1e-14)
    weight = options.get("weight", torch.ones(12))
    # Some fits stopped with a score of 1e-9.
    assert_close(-gradient / weight, tensor(residual), 1e-9)


AML = target(
    [9, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161, 5, 5, 8, 8, 12, 16, 23, 27, 30, 33, 43, 45],
    [1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1],
)


@pytest.mark.parametrize(
    ("ties", "beta", "log_likelihoods"),
    [
        ("breslow", -0.90421972369, [-42.8981238972, -41.2501143501]),
        ("efron", -0.91553257501, [-42.7248392628, -41.0326155965]),
    ],
)
def test_log_likelihoods_of_aml(ties, beta, log_likelihoods):
    """[json]; 12 digits. Events tied with events and with censorings."""
    x = (torch.arange(23) < 11).double()
    for slope, expected in zip((0.0, beta), log_likelihoods, strict=True):
        loss = cox(slope * x, **AML, ties=ties, reduction="sum")
        assert_close(-loss, tensor(expected), 2e-12)


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
