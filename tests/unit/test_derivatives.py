"""Derivatives of the losses: the first by every way of torch, the others in words."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from sksurvtorch import CompetingRisksLoss, CoxPHLoss, WeibullAFTLoss
from sksurvtorch.functional import (
    CompetingRiskSets,
    RiskSets,
    breslow_baseline,
    weibull_quantile,
    weibull_survival,
    weighted_error,
)
from sksurvtorch.losses import (
    AffinitiesLoss,
    DummyLoss,
    GatheredLoss,
    HotDistanceLoss,
    MomentumLoss,
    MSELoss,
)

G = torch.Generator().manual_seed(0)
N = 9
EVENT = torch.tensor([True, True, False, True, False, True, True, False, True])
STATUS = torch.tensor([1, 2, 0, 2, 0, 1, 1, 0, 2])
TIME = torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0])
ENTRY = 0.5 * TIME * torch.rand(N, generator=G)
WEIGHT = 0.5 + torch.rand(N, generator=G)
STRATUM = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
ONE, TWO = torch.randn(N, generator=G).double(), torch.randn(N, 2, generator=G).double()
DENSE = torch.randn(2, 4, 3, generator=G).double()
ONE_EACH = torch.ones_like(TWO)
TARGET, DENSE_WEIGHT = (DENSE > 0).double(), torch.rand(2, 4, 3, generator=G).double()
#: torch.func.linearize computes what does not depend on the tangent, and torch.fx says so.
folds_constants = pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")
REDUCTIONS = ("mean", "sum", "none")


def survival_losses():
    """Each likelihood, with a prediction for it."""
    everything = {"entry": ENTRY, "weight": WEIGHT}
    far = 1000 * ONE  # by logarithms
    for reduction in REDUCTIONS:
        for ties in ("efron", "breslow"):
            cox = CoxPHLoss(ties=ties, reduction=reduction)
            risk_sets = RiskSets(EVENT, TIME, ties=ties)
            made = {
                "": partial(cox, event=EVENT, time=TIME),
                "columns": partial(cox, event=EVENT, time=TIME, stratum=STRATUM, **everything),
                "risk_sets": partial(cox, risk_sets=risk_sets),
            }
            for name, loss in made.items():
                yield f"cox-{reduction}-{ties}-{name}", loss, ONE
                yield f"cox-{reduction}-{ties}-{name}-far", loss, far
        for hazard in ("cause-specific", "subdistribution"):
            competing = CompetingRisksLoss(hazard=hazard, reduction=reduction)
            risk_sets = CompetingRiskSets(STATUS, TIME, hazard=hazard)
            made = {
                "": partial(competing, status=STATUS, time=TIME),
                "columns": partial(competing, status=STATUS, time=TIME, stratum=STRATUM),
                "risk_sets": partial(competing, risk_sets=risk_sets),
            }
            for name, loss in made.items():
                yield f"competing-{reduction}-{hazard}-{name}", loss, TWO
                yield f"competing-{reduction}-{hazard}-{name}-far", loss, 500 * TWO
        weibull = partial(WeibullAFTLoss(reduction=reduction), event=EVENT, time=TIME)
        yield f"weibull-{reduction}", weibull, TWO
        yield f"weibull-{reduction}-columns", partial(weibull, **everything), TWO[:, :1]


def dense_losses():
    """Each loss of a dense prediction."""
    for reduction in REDUCTIONS:
        options = {"reduction": reduction}
        for loss in (
            DummyLoss(**options),
            MSELoss(**options, normalize="weight"),
            MSELoss(**options, weighting="dacapo"),
            AffinitiesLoss(2, 0.5, **options),
            HotDistanceLoss(**options),
        ):
            name = f"{type(loss).__name__}-{reduction}-{loss.weighting}"
            yield name, partial(loss, y_true=(TARGET, DENSE_WEIGHT)), DENSE


def cases(*made):
    """A parameter for each case."""
    listed = [case for generator in made for case in generator()]
    ids = [name for name, *_ in listed]
    return pytest.mark.parametrize(("loss", "at"), [case[1:] for case in listed], ids=ids)


def gradients(loss, at, by):
    """The gradients of a loss, each multiplied by one of `by`."""
    at = at.clone().requires_grad_()
    value = loss(at)
    return [torch.autograd.grad(value, at, b, retain_graph=True)[0] for b in by]


def basis(loss, at):
    """What to multiply a gradient by, to see all of a Jacobian."""
    shape = loss(at).shape
    return torch.eye(shape.numel(), dtype=at.dtype).reshape(-1, *shape)


def same(found, expected):
    """Equal up to the order of a few sums."""
    torch.testing.assert_close(
        found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max())
    )


@cases(survival_losses, dense_losses)
def test_reverse_mode_of_torch_func_is_backward(loss, at):
    by = basis(loss, at)
    expected = torch.stack(gradients(loss, at, by))
    value, pull_back = torch.func.vjp(loss, at)
    same(value, loss(at))
    for b, gradient in zip(by, expected, strict=True):
        same(pull_back(b)[0], gradient)
    same(torch.func.jacrev(loss)(at), expected.reshape(*value.shape, *at.shape))
    summed, (gradient, again) = (
        torch.func.grad_and_value(lambda at: (loss(at).sum(), at.detach()), has_aux=True)(at)[1][0],
        torch.func.grad_and_value(lambda at: loss(at).sum())(at),
    )
    assert summed.shape == ()
    same(again, loss(at).sum())
    same(gradient, expected.sum(0))


def test_columns_may_be_made_within_the_transform():
    def loss(at):
        time = torch.arange(1, N + 1)
        return CoxPHLoss()(2 * at, EVENT & (time > 0), time, weight=torch.ones(N))

    (expected,) = gradients(loss, ONE, [None])
    same(torch.func.grad(loss)(ONE), expected)


def test_a_network_is_trained_by_torch_func():
    network = torch.nn.Linear(2, 1).double()
    weights = {name: weight.detach() for name, weight in network.named_parameters()}

    def loss(weights):
        return CoxPHLoss()(torch.func.functional_call(network, weights, TWO), EVENT, TIME)

    found = torch.func.grad(loss)(weights)
    loss(dict(network.named_parameters())).backward()
    for name, weight in network.named_parameters():
        same(found[name], weight.grad)


@cases(survival_losses)
def test_what_is_not_offered_is_refused_in_words(loss, at):
    def total(at):
        return loss(at).sum()

    def refused(words, ask):
        with pytest.raises(NotImplementedError, match=words):
            ask()

    forward, second = "offers no forward-mode derivative", "offers no second derivative"
    refused(forward, lambda: torch.func.jvp(loss, (at,), (at,)))
    refused(forward, lambda: torch.func.jacfwd(loss)(at))
    refused(forward, lambda: torch.func.hessian(total)(at))
    refused(second, lambda: torch.func.grad(lambda x: torch.func.grad(total)(x).sum())(at))
    refused(second, lambda: torch.func.jacrev(torch.func.jacrev(total))(at))
    refused(second, lambda: torch.autograd.functional.hessian(total, at))
    recorded = "^`.*` cannot be recorded, as torch.func.linearize and make_fx do"
    refused(recorded, lambda: torch.func.linearize(loss, at))
    refused(recorded, lambda: make_fx(torch.func.grad(total))(at))
    refused("offers no torch.func.vmap", lambda: torch.vmap(loss)(torch.stack([at, at])))
    with forward_ad.dual_level():
        refused(forward, lambda: loss(forward_ad.make_dual(at, at)))


@cases(survival_losses, dense_losses)
def test_several_gradients_at_once_are_right_or_refused(loss, at):
    by = basis(loss, at)
    expected = torch.stack(gradients(loss, at, by))
    moving = at.clone().requires_grad_()
    value, words = loss(moving), "takes one gradient at a time. Leave out is_grads_batched=True"
    try:
        (found,) = torch.autograd.grad(value, moving, by, is_grads_batched=True)
    except NotImplementedError:
        with pytest.raises(NotImplementedError, match=words):
            torch.autograd.grad(loss(moving), moving, by, is_grads_batched=True)
    else:
        same(found, expected)


@folds_constants
@cases(dense_losses)
def test_dense_losses_have_all_transforms(loss, at):
    tangent = DENSE.flip(0)
    (expected,) = gradients(lambda at: loss(at).sum(), at, [None])
    found = torch.func.jvp(lambda at: loss(at).sum(), (at,), (tangent,))[1]
    same(found, (expected * tangent).sum())
    same(torch.func.linearize(lambda at: loss(at).sum(), at)[1](tangent), found)
    stacked = torch.stack([at, at.flip(0)])
    same(torch.vmap(loss)(stacked), torch.stack([loss(x) for x in stacked]))
    numbers = torch.func.grad(lambda x: torch.func.grad(lambda y: loss(y).sum())(x).sum())(at)
    step = 1e-6
    up, down = (gradients(lambda at: loss(at).sum(), at + s, [None])[0] for s in (step, -step))
    torch.testing.assert_close(numbers, (up - down) / (2 * step), rtol=1e-5, atol=1e-7)


def test_dense_losses_give_a_gradient_to_target_and_weight():
    target, weight = TARGET.clone().requires_grad_(), DENSE_WEIGHT.clone().requires_grad_()
    weighted_error(DENSE, target, weight, reduction="sum").backward()
    same(weight.grad, (DENSE - TARGET) ** 2)
    same(target.grad, 2 * DENSE_WEIGHT * (TARGET - DENSE))


def moving(x):
    """A tensor that asks for a gradient."""
    return x.double().requires_grad_()


def constant(name):
    """What a column that asks for a gradient is told."""
    return (
        rf"^`{name}` must not require a gradient, got a tensor that does: there is a gradient by "
        rf"the prediction alone\. Pass {name}\.detach\(\)\.$"
    )


def momentum(at, **columns):
    """A loss with a bank."""
    return MomentumLoss(CoxPHLoss(), bank_size=5)((at, at), **columns)


COX = (CoxPHLoss(), momentum, GatheredLoss(CoxPHLoss()), lambda at, **given: RiskSets(**given))


@pytest.mark.parametrize("name", ["time", "entry", "weight"])
@pytest.mark.parametrize("loss", [*COX, WeibullAFTLoss(), breslow_baseline])
def test_a_column_gets_no_gradient_in_silence(loss, name):
    columns = {"event": EVENT, "time": TIME, "entry": ENTRY, "weight": WEIGHT}
    at = TWO if isinstance(loss, WeibullAFTLoss) else ONE
    with pytest.raises(ValueError, match=constant(name)):
        loss(at, **columns | {name: moving(columns[name])})
    with torch.no_grad():  # nothing is asked for
        loss(at, **columns | {name: moving(columns[name])})


@pytest.mark.parametrize("loss", [CoxPHLoss(), WeibullAFTLoss()])
def test_a_column_gets_no_gradient_from_torch_func_in_silence(loss):
    at = TWO if isinstance(loss, WeibullAFTLoss) else ONE
    with pytest.raises(ValueError, match=constant("weight")):
        torch.func.grad(lambda w: loss(at, EVENT, TIME, weight=w))(WEIGHT)


def test_times_and_probabilities_get_no_gradient_in_silence():
    with pytest.raises(ValueError, match=constant("times")):
        weibull_survival(TWO, moving(TIME))
    with pytest.raises(ValueError, match=constant("probability")):
        weibull_quantile(TWO, moving(torch.tensor([0.5])))


@pytest.mark.parametrize(
    ("name", "call"),
    {
        "RiskSets": lambda at: RiskSets(EVENT, TIME),
        "RiskSets.take": lambda at: RiskSets(EVENT, TIME),
        "RiskSets.split": lambda at: RiskSets(EVENT, TIME),
        "breslow_baseline": lambda at: breslow_baseline(at, EVENT, TIME),
        "MomentumLoss": lambda at: momentum(at, event=EVENT, time=TIME),
    }.items(),
)
def test_what_has_no_place_within_a_transform_says_so(name, call):
    risk_sets = RiskSets(EVENT, TIME)
    rows = torch.arange(N)
    call = {
        "RiskSets.take": lambda at: risk_sets.take(rows),
        "RiskSets.split": lambda at: risk_sets.split(rows, [N]),
    }.get(name, call)
    with pytest.raises(NotImplementedError, match=f"^`{name}` cannot be called within torch.func"):
        torch.func.grad(lambda at: (call(at), at.sum())[1])(ONE)
    with pytest.raises(NotImplementedError, match=f"^`{name}` cannot be called within torch.func"):
        make_fx(call)(ONE)


@folds_constants
def test_functions_of_a_weibull_distribution_have_all_transforms():
    times = torch.tensor([0.5, 2.0])
    expected = weibull_survival(TWO, times)
    same(torch.vmap(lambda row: weibull_survival(row[None], times)[0])(TWO), expected)
    by_row = torch.vmap(lambda row, t: weibull_survival(row[None], t)[0])
    same(by_row(TWO, times.expand(N, 2)), expected)
    hessian = torch.func.hessian(lambda at: weibull_survival(at, times).sum())(TWO)
    assert hessian.isfinite().all()
    value, push_forward = torch.func.linearize(lambda at: weibull_survival(at, times), TWO)
    same(value, expected)
    tangent = torch.func.jvp(lambda at: weibull_survival(at, times), (TWO,), (ONE_EACH,))[1]
    same(push_forward(ONE_EACH), tangent)
