"""Under torch.compile the losses and functions of survival run as they are, to the last bit."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from sksurv.util import Surv
from torch import nn

from sksurvtorch import functional
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import CompetingRiskSets, RiskSets, _compiler
from sksurvtorch.losses import (
    AFTLoss,
    CompetingRisksLoss,
    CoxPHLoss,
    GatheredLoss,
    Momentum,
    MomentumLoss,
    WeibullAFTLoss,
)
from sksurvtorch.nets import survival_target

# torch's compiler looks at the gradient of each input, and torch warns of that.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor"
)
PLAIN, ALL = ("event", "time"), ("event", "time", "entry", "stratum", "weight")
INTERVAL, CAUSES = ("lower", "upper"), ("status", "time")

#: Loss, number of outputs of the network, columns it is given.
LOSSES = {
    "efron": (CoxPHLoss(), 1, PLAIN),
    "efron_all_columns": (CoxPHLoss(), 1, ALL),
    "breslow_by_row": (CoxPHLoss(ties="breslow", reduction="none"), 1, PLAIN),
    "weibull": (WeibullAFTLoss(), 2, PLAIN),
    "weibull_entry": (WeibullAFTLoss(reduction="sum"), 2, ("event", "time", "entry", "weight")),
    "lognormal": (AFTLoss(distribution="lognormal"), 2, PLAIN),
    "loglogistic_intervals": (AFTLoss(distribution="loglogistic"), 2, INTERVAL),
    "cause_specific": (CompetingRisksLoss(), 2, CAUSES),
    "fine_gray": (CompetingRisksLoss(hazard="subdistribution"), 2, CAUSES),
    "gathered": (GatheredLoss(CoxPHLoss()), 1, PLAIN),
    "bank_of_no_rows": (MomentumLoss(WeibullAFTLoss(), bank_size=0), 2, PLAIN),
}
every_loss = pytest.mark.parametrize("kind", LOSSES)


@pytest.fixture(autouse=True)
def nothing_compiled():
    """The compiler begins anew in each test."""
    torch._dynamo.reset()


def columns_of(n_samples, seed=0):
    """Columns by name; memory of times is that of arrays, and all of them are above 1."""
    rng = np.random.default_rng(seed)
    time = rng.integers(8, 80, n_samples) / 4.0
    event = rng.random(n_samples) < 0.7
    arrays = {
        "event": event,
        "status": event * rng.integers(1, 3, n_samples),
        "time": time,
        "entry": time * rng.uniform(0, 0.5, n_samples),
        "stratum": rng.integers(0, 2, n_samples),
        "weight": rng.uniform(0.5, 2, n_samples),
        "lower": time - 1,
        "upper": np.where(event, time, np.inf),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def inputs_of(n_samples):
    return torch.randn(n_samples, 3, generator=torch.Generator().manual_seed(n_samples))


def network_with(n_outputs):
    torch.manual_seed(0)
    return nn.Linear(3, n_outputs)


def recorder(operations):
    """Backend that notes the operations of the graphs it is handed, and runs them as they are."""

    def backend(graph, inputs):
        nodes = graph.graph.nodes
        operations.extend(str(node.target) for node in nodes if node.op.startswith("call"))
        return graph.forward

    return backend


def assert_same(found, expected):
    """Equal to the last bit."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def loss_and_gradient(compute, network, x, columns):
    """Return both; the columns have to stay as they are."""
    before = copy.deepcopy(columns)
    network.zero_grad()
    loss = compute(x, columns)
    loss.sum().backward()
    assert_same(columns, before)
    return loss.detach(), network.weight.grad.clone()


LINEAR = "<built-in function linear>"


@every_loss
@pytest.mark.parametrize("with_network", [False, True], ids=["alone", "with_network"])
def test_values_and_gradients_are_the_same(kind, with_network):
    loss, n_outputs, names = LOSSES[kind]
    network, operations = network_with(n_outputs), []

    def plain(x, columns):
        return loss(network(x), **columns)

    if with_network:
        compiled = torch.compile(plain, backend=recorder(operations))
    else:
        own = torch.compile(loss, backend=recorder(operations))

        def compiled(x, columns):
            return own(network(x), **columns)

    for seed, n_samples in enumerate((24, 24, 31, 24)):
        given, x = columns_of(n_samples, seed), inputs_of(n_samples)
        columns = {name: given[name] for name in names}
        expected = loss_and_gradient(plain, network, x, columns)
        assert_same(loss_and_gradient(compiled, network, x, columns), expected)
    # All that was compiled is the network.
    assert {*operations} == ({LINEAR} if with_network else set())


def trained(make, names, backend=None):
    """Return losses and weights of a training step on several batches, compiled or not."""
    network = network_with(2 if "weibull" in make.__name__ else 1)
    loss = make(network)

    def step(x, columns):
        value = loss(x if isinstance(loss, Momentum) else network(x), **columns)
        network.zero_grad()
        value.backward()
        with torch.no_grad():
            network.weight.sub_(network.weight.grad, alpha=0.01)
        return value.detach()

    step = step if backend is None else torch.compile(step, backend=backend)
    losses = []
    for seed, n_samples in enumerate((24, 31, 24)):
        given = columns_of(n_samples, seed)
        losses.append(step(inputs_of(n_samples), {name: given[name] for name in names}))
    return losses, network.weight.detach(), given["time"]


def cox(network):
    return CoxPHLoss()


def cox_by_row(network):
    class Sum(nn.Module):
        def forward(self, output, event, time):
            return CoxPHLoss(reduction="none")(output, event, time).sum()

    return Sum()


def weibull(network):
    return WeibullAFTLoss()


def cox_momentum(network):
    return Momentum(network, CoxPHLoss(), bank_size=40, gradient="balanced")


@pytest.mark.parametrize("make", [cox, cox_by_row, weibull, cox_momentum])
def test_a_compiled_step_of_training(make):
    operations = []
    assert_same(trained(make, PLAIN, recorder(operations)), trained(make, PLAIN))
    # Nor is the backward pass of a loss compiled, which multiplies by the gradient it is handed.
    assert LINEAR in operations
    assert "<built-in function mul>" not in operations


every_kind_of_risk_sets = pytest.mark.parametrize(
    ("make", "loss", "n_outputs", "names"),
    [
        (RiskSets, CoxPHLoss(), 1, ALL),
        (RiskSets, CoxPHLoss(), 1, PLAIN),
        (partial(CompetingRiskSets, n_causes=2), CompetingRisksLoss(), 2, CAUSES),
    ],
    ids=["all_columns", "event_and_time", "competing_risks"],
)


@every_kind_of_risk_sets
def test_risk_sets_made_within_compiled_code(make, loss, n_outputs, names):
    operations = []

    def compute(outputs, indices, columns):
        """All that is made of risk sets."""
        made = make(**columns)
        each = [made, made.take(indices[0]), *made.split(indices[1], [15, 9])]
        losses = [loss(eta, risk_sets=own) for eta, own in zip(outputs, each, strict=True)]
        return losses, made.total_event_weight, made.order, made.n_events, made.to("cpu") is made

    compiled = torch.compile(compute, backend=recorder(operations))
    for seed in range(2):
        given, eta = columns_of(24, seed), inputs_of(24)[:, :n_outputs]
        columns = {name: given[name] for name in names}
        indices = [torch.arange(3, 20), torch.arange(24)]
        outputs = [eta, eta[3:20].clone(), eta[:15].clone(), eta[15:].clone()]
        before = copy.deepcopy(columns)
        found = compiled(outputs, indices, columns)
        assert_same(found, compute(outputs, indices, columns))
        assert_same(columns, before)
    assert not operations


@every_kind_of_risk_sets
def test_risk_sets_made_before(make, loss, n_outputs, names):
    network, operations = network_with(n_outputs), []

    def plain(x, risk_sets):
        return loss(network(x), risk_sets=risk_sets)

    compiled = torch.compile(plain, backend=recorder(operations))
    for seed, n_samples in enumerate((24, 31, 24)):
        given = columns_of(n_samples, seed)
        found = []
        for compute in (compiled, plain):
            risk_sets = make(**{name: given[name] for name in names})
            network.zero_grad()
            value = compute(inputs_of(n_samples), risk_sets)
            value.backward()
            found.append((value.detach(), network.weight.grad.clone(), risk_sets.columns))
        assert_same(*found)
    assert {*operations} == {LINEAR}


N = 24
COLUMNS, ETA, PARAMS = columns_of(N), inputs_of(N)[:, 0], inputs_of(N)[:, :2]
LABELS = {name: COLUMNS[name] for name in ALL}
STATUS = {name: COLUMNS[name] for name in ("status", "time", "entry")}
TIMES = torch.tensor([0.0, 2.0, 5.5], dtype=torch.float64)
HALF, LOG_LOGISTIC = torch.tensor([0.5]), {"distribution": "loglogistic"}
GIVEN = {"after": COLUMNS["entry"], **LOG_LOGISTIC}


def generator():
    return torch.Generator().manual_seed(0)


def baseline():
    return functional.competing_risks_baseline(PARAMS, **STATUS)


#: Each function of what the network puts out, apart from the losses.
FUNCTIONS = {
    "aft_cumulative_hazard": partial(functional.aft_cumulative_hazard, times=TIMES, **GIVEN),
    "aft_log_hazard": partial(functional.aft_log_hazard, times=TIMES, **LOG_LOGISTIC),
    "aft_log_survival": partial(functional.aft_log_survival, times=TIMES, **GIVEN),
    "aft_mean": partial(functional.aft_mean, **GIVEN),
    "aft_mean_residual_life": partial(functional.aft_mean_residual_life, **GIVEN),
    "aft_median": partial(functional.aft_median, **GIVEN),
    "aft_quantile": partial(functional.aft_quantile, probability=HALF, **GIVEN),
    "aft_sample": lambda x: functional.aft_sample(x, 2, generator=generator(), **LOG_LOGISTIC),
    "aft_survival": partial(functional.aft_survival, times=TIMES, **GIVEN),
    "breslow_baseline": lambda x: functional.breslow_baseline(ETA, **LABELS),
    "competing_risks_baseline": lambda x: baseline(),
    "cumulative_incidence": lambda x: functional.cumulative_incidence(x, baseline(), TIMES),
    "fine_gray_weights": lambda x: functional.fine_gray_weights(**STATUS, cause=1),
    "weibull_cumulative_hazard": partial(functional.weibull_cumulative_hazard, times=TIMES),
    "weibull_log_cumulative_hazard": partial(functional.weibull_log_cumulative_hazard, times=TIMES),
    "weibull_log_hazard": partial(functional.weibull_log_hazard, times=TIMES),
    "weibull_mean": functional.weibull_mean,
    "weibull_median": functional.weibull_median,
    "weibull_quantile": partial(functional.weibull_quantile, probability=HALF),
    "weibull_sample": lambda x: functional.weibull_sample(x, 2, generator=generator()),
    "weibull_survival": partial(functional.weibull_survival, times=TIMES),
    "aft_neg_log_likelihood": lambda x: functional.aft_neg_log_likelihood(
        x, COLUMNS["event"], COLUMNS["time"], **LOG_LOGISTIC
    ),
    "competing_risks_neg_log_likelihood": lambda x: functional.competing_risks_neg_log_likelihood(
        x, **STATUS
    ),
    "cox_neg_partial_log_likelihood": lambda x: functional.cox_neg_partial_log_likelihood(
        ETA, **LABELS
    ),
    "weibull_neg_log_likelihood": lambda x: functional.weibull_neg_log_likelihood(
        x, COLUMNS["event"], COLUMNS["time"]
    ),
}


def parts_of(result):
    """The tensors of a result."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, torch.Tensor)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_the_same(name):
    call, operations, before = FUNCTIONS[name], [], copy.deepcopy((COLUMNS, PARAMS, TIMES))
    expected = call(PARAMS)
    compiled = torch.compile(lambda x: (call(x), x + 1), backend=recorder(operations))
    for _ in range(2):
        found, _ = compiled(PARAMS)
        assert type(found) is type(expected)
        for one, other in zip(parts_of(found), parts_of(expected), strict=True):
            assert_same(one, other)
    assert_same((COLUMNS, PARAMS, TIMES), before)
    assert {*operations} <= {"<built-in function add>", "<built-in function getitem>"}


def test_all_functions_are_looked_at():
    functions = {name for name in functional.__all__ if name[0].islower()}
    # Of tensors alone, which the compiler is welcome to: see test_segmentation_skorch.
    of_volumes = {"affinities_terms", "hot_distance_terms", "weighted_error"}
    assert functions == {*FUNCTIONS} | of_volumes


@pytest.mark.parametrize(
    ("criterion", "n_outputs"), [(CoxPHLoss, 1), (WeibullAFTLoss, 2)], ids=["cox", "weibull"]
)
def test_a_compiled_net_of_skorch(criterion, n_outputs):
    given = columns_of(60)
    X = inputs_of(60).numpy()
    y = survival_target(Surv.from_arrays(given["event"].numpy(), given["time"].numpy()))
    before = copy.deepcopy(dict(y))

    def fitted(**options):
        torch.manual_seed(0)
        net = NeuralNet(
            nn.Linear,
            module__in_features=3,
            module__out_features=n_outputs,
            criterion=criterion,
            batch_size=30,
            max_epochs=2,
            train_split=None,
            verbose=0,
            **options,
        )
        return net.fit(X, y)

    plain, compiled = fitted(), fitted(compile=True, compile__backend="eager")
    assert type(compiled.criterion_).__name__ == "OptimizedModule"
    np.testing.assert_array_equal(compiled.predict(X), plain.predict(X))
    assert compiled.history[:, "train_loss"] == plain.history[:, "train_loss"]
    for name, column in y.items():
        np.testing.assert_array_equal(column, before[name])


def test_errors_are_those_of_plain_code():
    compiled = torch.compile(CoxPHLoss(), backend="eager")
    with pytest.raises(NoEventError, match="`event` must be True at least once"):
        compiled(torch.zeros(3), torch.zeros(3, dtype=torch.bool), torch.ones(3))


def test_the_gradient_of_torch_func_in_compiled_code():
    columns = columns_of(N)
    before = copy.deepcopy(columns)
    gradient = torch.func.grad(
        lambda x: functional.weibull_neg_log_likelihood(x, columns["event"], columns["time"])
    )
    assert_same(torch.compile(gradient, backend="eager")(PARAMS), gradient(PARAMS))
    assert_same(columns, before)


@every_loss
def test_one_graph_of_all_is_refused(kind):
    loss, n_outputs, names = LOSSES[kind]
    columns = {name: COLUMNS[name] for name in names}
    whole = torch.compile(lambda x: loss(x, **columns), backend="eager", fullgraph=True)
    refused = rf"{type(loss).__name__}\.forward (.|\n)*it works with arrays"
    with pytest.raises(torch._dynamo.exc.Unsupported, match=refused):
        whole(inputs_of(N)[:, :n_outputs])


def test_a_torch_with_other_names_marks_functions_all_the_same(monkeypatch):
    monkeypatch.setattr(_compiler, "_SKIPPED", None)

    def own(x):
        return x + 1

    assert _compiler.left_out_of_graphs(own) is own
    assert own._torchdynamo_disable
    assert torch.compile(lambda x: own(x) * 2, backend="eager")(torch.ones(1)) == 4
