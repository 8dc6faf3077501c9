"""Tensors and arrays of unusual kinds: the right value, or a sentence that says what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sksurv.util import Surv

from sksurvtorch import (
    CompetingRisksLoss,
    CoxPHLoss,
    WeibullAFTLoss,
    WeibullAFTRegressor,
    metrics,
    targets,
)
from sksurvtorch.functional import (
    CompetingRiskSets,
    RiskSets,
    breslow_baseline,
    competing_risks_baseline,
    cumulative_incidence,
    fine_gray_weights,
    weibull_mean,
    weibull_median,
    weibull_quantile,
    weibull_survival,
)
from sksurvtorch.losses import (
    AffinitiesLoss,
    DummyLoss,
    GatheredLoss,
    HotDistanceLoss,
    MomentumLoss,
    MSELoss,
)
from sksurvtorch.nets import survival_target

N = 6
G = torch.Generator().manual_seed(0)
EVENT = torch.tensor([1.0, 1, 0, 1, 0, 1])
STATUS = torch.tensor([1, 2, 0, 1, 0, 2])
TIME = torch.arange(2.0, 8.0)
ONE, TWO = torch.randn(N, generator=G), torch.randn(N, 2, generator=G)
COLUMNS = {
    "event": EVENT,
    "time": TIME,
    "entry": TIME - 1,
    "stratum": torch.tensor([0, 0, 0, 1, 1, 1]),
    "weight": torch.arange(1.0, 7.0),
}


BASELINE = competing_risks_baseline(TWO, STATUS, TIME)


def competing(x, **columns):
    """The loss of competing risks; the entries here are too late for subdistribution hazards."""
    hazard = "cause-specific" if "entry" in columns else "subdistribution"
    return CompetingRisksLoss(hazard=hazard)(x, STATUS, **columns)


def momentum(at, **columns):
    """A loss with a bank."""
    return MomentumLoss(CoxPHLoss(), bank_size=3)((at, at), **columns)


def concordance(estimate=ONE, event_time=TIME):
    """Harrell's index."""
    return metrics.concordance_index_censored(EVENT.bool(), event_time, estimate)[0]


#: What takes a tensor: the name of the argument, the call, and what it usually takes.
TAKERS = {
    "cox": ("log_hazard_ratio", lambda x: CoxPHLoss()(x, EVENT, TIME), ONE),
    "cox rows": ("log_hazard_ratio", lambda x: CoxPHLoss(reduction="none")(x, EVENT, TIME), ONE),
    "competing": ("log_hazard_ratio", lambda x: competing(x, time=TIME), TWO),
    "baselines": (
        "log_hazard_ratio",
        lambda x: competing_risks_baseline(x, STATUS, TIME).log_hazard,
        TWO,
    ),
    "incidence": (
        "log_hazard_ratio",
        lambda x: cumulative_incidence(x, BASELINE, TIME).incidence,
        TWO,
    ),
    "incidence times": (
        "times",
        lambda x: cumulative_incidence(TWO, BASELINE, x).incidence,
        TIME,
    ),
    "status": ("status", lambda x: CompetingRisksLoss()(TWO, x, TIME), STATUS),
    "weibull": ("log_params", lambda x: WeibullAFTLoss()(x, EVENT, TIME), TWO),
    "momentum": ("output", lambda x: momentum(x, event=EVENT, time=TIME), ONE),
    "gathered": ("log_hazard_ratio", lambda x: GatheredLoss(CoxPHLoss())(x, EVENT, TIME), ONE),
    "breslow": ("log_hazard_ratio", lambda x: breslow_baseline(x, EVENT, TIME)[2], ONE),
    "survival": ("log_params", lambda x: weibull_survival(x, TIME), TWO),
    "median": ("log_params", weibull_median, TWO),
    "mean": ("log_params", weibull_mean, TWO),
    "times": ("times", lambda x: weibull_survival(TWO, x), TIME),
    "probability": ("probability", lambda x: weibull_quantile(TWO, x), TIME / 16),
    "estimate": ("estimate", lambda x: concordance(estimate=x), ONE),
    "event time": ("event_time", lambda x: concordance(event_time=x), TIME),
    "distance": ("distance", targets.distances_to_labels, TWO),
}
for kind, of_columns, names in (
    ("cox", lambda **columns: CoxPHLoss()(ONE, **columns), COLUMNS),
    ("momentum", lambda **columns: momentum(ONE, **columns), COLUMNS),
    ("weibull", lambda **columns: WeibullAFTLoss()(TWO, **columns), COLUMNS.keys() - {"stratum"}),
    (
        "competing",
        lambda event, **columns: competing(TWO, **columns),
        COLUMNS.keys() - {"event"},
    ),
    (
        "competing risk sets",
        lambda event, **columns: CompetingRiskSets(STATUS, **columns).total_event_weight,
        COLUMNS.keys() - {"event"},
    ),
    (
        "rows of Fine and Gray",
        lambda event, **columns: fine_gray_weights(STATUS, **columns).weight,
        COLUMNS.keys() - {"event", "entry"},
    ),
    ("risk sets", lambda **columns: RiskSets(**columns).total_event_weight, COLUMNS),
):
    TAKERS |= {
        f"{kind} {name}": (
            name,
            lambda x, f=of_columns, name=name: f(**{"event": EVENT, "time": TIME, name: x}),
            COLUMNS[name],
        )
        for name in sorted(names)
    }
for kind, dense in (
    ("absolute", DummyLoss()),
    ("squared", MSELoss()),
    ("dacapo", MSELoss(weighting="dacapo", reduction="none")),
    ("affinities", AffinitiesLoss(1, 0.5)),
    ("hot distance", HotDistanceLoss()),
):
    TAKERS |= {
        f"{kind} prediction": ("prediction", lambda x, f=dense: f(x, TWO.abs()), TWO),
        f"{kind} target": ("target", lambda x, f=dense: f(TWO, x), TWO.abs()),
        f"{kind} weight": ("weight", lambda x, f=dense: f(TWO, (TWO.abs(), x)), TWO.abs()),
    }
every_taker = pytest.mark.parametrize(("name", "call", "usual"), TAKERS.values(), ids=TAKERS)
of_columns = pytest.mark.parametrize(
    ("name", "call", "usual"),
    [t for t in TAKERS.values() if t[0] in {*COLUMNS, "times"} and t[2].ndim == 1],
    ids=[k for k, t in TAKERS.items() if t[0] in {*COLUMNS, "times"} and t[2].ndim == 1],
)


def refuses(name, call, x, words):
    """It says the name, and what to do."""
    with pytest.raises((TypeError, ValueError), match=rf"^`{name}` must .*{re.escape(words)}"):
        call(x)


UNUSUAL = {
    "complex": (lambda x: x.to(torch.complex64), ".real or "),
    "sparse": (lambda x: x.to_sparse(), ".to_dense()"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
        ".dequantize()",
    ),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), ".float()"),
    "nested": (lambda x: torch.nested.nested_tensor([x[:3], x[3:]]), "unbind()"),
    "jagged": (
        lambda x: torch.nested.nested_tensor([x[:3], x[3:]], layout=torch.jagged),
        "unbind()",
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*:DeprecationWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
@every_taker
def test_unusual_tensors_are_refused_in_words(kind, name, call, usual):
    make, words = UNUSUAL[kind]
    refuses(name, call, make(usual), words)


PREDICTIONS = {"log_hazard_ratio", "log_params", "prediction", "output"}


@every_taker
def test_a_tensor_without_numbers_is_refused_in_words(name, call, usual):
    words = (
        r"^`\w+` must (be on the device of `\w+`, \w+, got \w+\. Pass \w+\.to|hold numbers, got)"
    )
    looks_at_nothing = name == "log_params" or call is TAKERS["momentum"][1]
    if looks_at_nothing and call is not TAKERS["weibull"][1]:
        assert call(usual.to("meta")).is_meta
        return
    with pytest.raises(ValueError, match=words):
        call(usual.to("meta"))


@every_taker
def test_bfloat16_is_taken_for_its_numbers(name, call, usual):
    if name in ("stratum", "status"):
        return
    half = usual.bfloat16()
    found, expected = (torch.as_tensor(call(x)).double() for x in (half, half.float()))
    exact = name not in PREDICTIONS  # whose functions are in their dtype
    rtol, atol = (1e-12, 0) if exact else (0.1, 0.02)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@every_taker
@pytest.mark.parametrize("whole", [torch.bool, torch.int32, torch.uint8])
def test_a_prediction_of_whole_numbers_is_refused_in_words(name, call, usual, whole):
    if name in PREDICTIONS:
        refuses(name, call, usual.abs().to(whole), f"got {whole}. Pass {name}.float().")


def test_a_bool_score_is_refused_in_words():
    refuses("estimate", concordance, ONE > 0, "got bool. Pass estimate.astype(float).")


@of_columns
@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_columns_are_taken_for_their_numbers(name, call, usual, dtype):
    found, expected = call(usual.to(dtype)), call(usual.long())
    assert torch.equal(found, expected)


@of_columns
def test_unsigned_columns_beyond_the_signed_ones_are_refused(name, call, usual):
    large = usual.numpy().astype(np.uint64)
    large[-1] = 2**63 + 5
    large = torch.from_numpy(large)
    with pytest.raises(
        ValueError, match=rf"^`{name}` must be less than 2\*\*63, got {2**63 + 5}\."
    ):
        call(large)


def test_unsigned_weights_of_dense_losses():
    weight = torch.arange(12).reshape(N, 2)
    for dtype in (torch.uint16, torch.uint64):
        found = MSELoss()(TWO, (TWO.abs(), weight.to(dtype)))
        assert found == MSELoss()(TWO, (TWO.abs(), weight))


def test_an_estimator_takes_unsigned_times_that_have_signed_ones():
    time = np.array([1, 2, 3, 2**63 + 5], dtype=np.uint64)
    X, event = np.arange(4.0)[:, None], np.ones(4, dtype=bool)
    model = WeibullAFTRegressor(max_epochs=1, hidden_layer_sizes=())
    y = np.rec.fromarrays([event, time], names="event,time").view(np.ndarray)
    with pytest.raises(ValueError, match=r"^`y\[.time.\]` must be less than 2\*\*63, got"):
        model.fit(X, y)
    y["time"][-1] = 4
    assert model.fit(X, y).unique_times_.tolist() == [1, 2, 3, 4]


@of_columns
def test_masked_arrays_are_refused_in_words(name, call, usual):
    array = np.ma.masked_array(usual.numpy(), mask=False)
    assert torch.equal(call(array), call(usual))
    array.mask = [True, False, False, True, False, False]
    refuses(name, call, array, "got 2 masked values of 6. Leave them out, or fill them by ")


@pytest.mark.parametrize("what", ["estimate", "event_time"])
def test_masked_arrays_have_no_concordance(what):
    array = np.ma.masked_array(TIME.numpy(), mask=[True, *[False] * 5])
    refuses(what, lambda x: concordance(**{what: x}), array, "got 1 masked values")


def test_masked_tensors_are_refused_in_words():
    mask = torch.arange(N) > 1
    with pytest.warns(UserWarning, match="MaskedTensors"):
        masked = torch.masked.masked_tensor(ONE, mask)
    refuses(
        "log_hazard_ratio", lambda x: CoxPHLoss()(x, EVENT, TIME), masked, "Leave the masked rows"
    )


def test_a_target_of_skorch_takes_tensors():
    y = Surv.from_arrays(EVENT.bool().numpy(), TIME.numpy())
    weight = COLUMNS["weight"].bfloat16().requires_grad_()
    assert survival_target(y, weight=weight)["weight"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_metric_takes_what_a_network_returns():
    score = ONE.clone().requires_grad_()
    assert concordance(score) == concordance(ONE.numpy())
    assert concordance(ONE.bfloat16()) == concordance(ONE.bfloat16().float().numpy())


def of_inference():
    """Everything, made where autograd records nothing at all."""
    with torch.inference_mode():
        columns = {name: column.clone() for name, column in COLUMNS.items()}
        return columns, RiskSets(**columns), TWO.abs().clone(), TWO.exp()


def with_gradient(loss, at, **given):
    """Value and gradient of a loss."""
    at = at.clone().requires_grad_()
    value = loss(at, **given)
    value.sum().backward()
    return value.detach(), at.grad


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_data_of_inference_mode_can_be_trained_with(reduction):
    columns, risk_sets, target, weight = of_inference()
    cox, weibull = CoxPHLoss(reduction=reduction), WeibullAFTLoss(reduction=reduction)
    pairs = [
        (with_gradient(cox, ONE, **columns), with_gradient(cox, ONE, **COLUMNS)),
        (with_gradient(cox, ONE, risk_sets=risk_sets), with_gradient(cox, ONE, **COLUMNS)),
        (with_gradient(momentum, ONE, **columns), with_gradient(momentum, ONE, **COLUMNS)),
    ]
    for name in ("entry", "weight"):
        ours, theirs = (
            {"event": EVENT, "time": c["time"], name: c[name]} for c in (columns, COLUMNS)
        )
        pairs.append((with_gradient(weibull, TWO, **ours), with_gradient(weibull, TWO, **theirs)))
    for weighting in ("linear", "dacapo"):
        for loss in (
            MSELoss(reduction=reduction, weighting=weighting),
            HotDistanceLoss(reduction=reduction, weighting=weighting),
            AffinitiesLoss(1, 0.5, reduction=reduction, weighting=weighting),
        ):
            found = with_gradient(loss, TWO, y_true=(target, weight))
            expected = with_gradient(loss, TWO, y_true=(TWO.abs(), TWO.exp()))
            pairs.append((found, expected))
    for found, expected in pairs:
        assert all(map(torch.equal, found, expected))


@every_taker
def test_inference_mode_changes_no_value(name, call, usual):
    expected = call(usual)
    with torch.inference_mode():
        found = call(usual.clone())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
