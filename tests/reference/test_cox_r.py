"""The Cox loss gives what R's survival package gives: worked examples.

Sources, all by T. Therneau's package `survival` under R:
[book] tests/book1 to book6.Rout.save and tests/doweight.Rout.save in github.com/therneau/survival.
  There R is compared with closed forms in r = exp(beta), which are the ones below.
[json] github.com/Cameron-Lyons/survival: python/tests/fixtures/cox_lowlevel_reference.json (R
  4.5.3, survival 3.8.12) and test/r_expected_values.json (R 4.5.2, survival 3.8.9).
"""

import math

import numpy as np
import pytest
import torch

from sksurvtorch.functional import breslow_baseline
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests.cohorts import assert_close, value_and_gradient
from tests.reference.r_examples import (
    TEST1,
    TEST1_X,
    TEST2,
    TEST2_X,
    TEST2B,
    TESTW1,
    TESTW1_X,
    TESTW3,
    TESTW3_ID,
    TESTW3_X,
    target,
    tensor,
)

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
