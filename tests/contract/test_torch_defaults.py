"""Nothing depends on torch's default device or dtype: neither a fit, nor a loss, nor a file."""

from __future__ import annotations

import ast
import io
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sksurv.util import Surv
from torch import nn

import sksurvtorch
from sksurvtorch import (
    CoxNNRegressor,
    CoxPHLoss,
    WeibullAFTLoss,
    WeibullAFTRegressor,
    functional,
    load,
    losses,
    metrics,
    save,
    targets,
)
from sksurvtorch.nets import MLP, SharedShape, SurvivalNet, TrainingCheckpoint, survival_target
from tests.contract.stored import Batches, Rows, mapped

RNG = np.random.default_rng(0)
N = 120
X = RNG.normal(size=(N, 3)).astype(np.float32)
TIME = RNG.integers(1, 30, N).astype(np.float64)
EVENT = RNG.random(N) < 0.6
Y = Surv.from_arrays(EVENT, TIME)
ENTRY = TIME * RNG.uniform(0, 0.9, N)
STRATUM = RNG.choice(["a", "b"], N)
WEIGHT = RNG.uniform(0.5, 2, N)
PREDICTION = RNG.normal(size=(2, 4, 5, 6)).astype(np.float32)
LABELS = RNG.integers(0, 4, (6, 7))


@contextmanager
def defaults(device, dtype):
    """Let torch have other defaults."""
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(dtype)
        if device == "everywhere":  # until it is set back, rather than within a context
            stack.callback(torch.set_default_device, None)
            torch.set_default_device("meta")
        elif device is not None:
            stack.enter_context(torch.device(device))
        yield


OTHERS = {
    "meta": ("meta", torch.float32),
    "meta_everywhere": ("everywhere", torch.float32),
    "float64": (None, torch.float64),
    "float16": (None, torch.float16),
    "meta_float64": ("meta", torch.float64),
}


def tensor(array, dtype=None):
    """A tensor that no default has a say in."""
    return torch.from_numpy(np.array(array)).to(dtype)


def column_tensors():
    """All columns as tensors."""
    return {
        "event": tensor(EVENT),
        "time": tensor(TIME),
        "entry": tensor(ENTRY),
        "stratum": tensor((STRATUM == "a").astype(int)),
        "weight": tensor(WEIGHT),
    }


def said(model):
    """All that a fitted model says."""
    parts = {
        "predict": model.predict(X),
        "survival": model.predict_survival_function(X[:5], return_array=True),
        "median": model.predict_median(X[:5]),
        "score": np.float64(model.score(X, Y)),
        "losses": np.array(model.net_.history[:, "train_loss"]),
    }
    weights = model.net_.module_.state_dict().items()
    return parts | {k: v for k, v in weights if isinstance(v, torch.Tensor)}


def fitted(kind, data=X, given=None, **parameters):
    """What a small fit says."""
    options = {"hidden_layer_sizes": (4,), "max_epochs": 2, "random_state": 0, "lr": 0.01}
    options["n_estimators"] = 1
    if "module" in parameters:
        del options["hidden_layer_sizes"]
    return said(kind(**options | parameters).fit(data, Y, **(given or {})))


def gradient_of(loss, output, *args, **kwargs):
    """A loss and its gradient."""
    output = output.requires_grad_()
    value = loss(output, *args, **kwargs)
    value.sum().backward()
    return {"value": value, "gradient": output.grad}


class Own(nn.Module):
    """A network of the user's, whose weights do not depend on torch's default dtype."""

    def __init__(self, n_outputs=1):
        super().__init__()
        self.layer = nn.Linear(3, n_outputs, dtype=torch.float32)

    def forward(self, X):
        return self.layer(X)


def cox_fit(folder):
    return fitted(CoxNNRegressor, batch_size=40)


def cox_linear(folder):
    return fitted(CoxNNRegressor, hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=5)


def cox_columns(folder):
    given = {"entry": ENTRY, "stratum": STRATUM, "sample_weight": WEIGHT}
    model = CoxNNRegressor(hidden_layer_sizes=(4,), max_epochs=2, batch_size=40, random_state=0)
    model.fit(X, Y, **given)
    survival = model.predict_survival_function(X[:5], return_array=True, stratum=STRATUM[:5])
    return {"predict": model.predict(X), "survival": survival}


def cox_lists(folder):
    given = {"entry": ENTRY.tolist(), "sample_weight": WEIGHT.tolist()}
    return fitted(CoxNNRegressor, X.tolist(), given, batch_size=40)


def cox_momentum(folder):
    return fitted(CoxNNRegressor, batch_size=30, momentum=True, momentum_steps=2)


def cox_momentum_strata(folder):
    options = {"hidden_layer_sizes": (4,), "batch_size": 30, "random_state": 0, "max_epochs": 1}
    model = CoxNNRegressor(momentum=True, momentum_steps=2, **options)
    for _ in range(2):
        model.partial_fit(X, Y, stratum=STRATUM, sample_weight=WEIGHT)
    return {"predict": model.predict(X)}


def cox_early_stopping(folder):
    return fitted(CoxNNRegressor, early_stopping=True, batch_size=40, dropout=0.2, norm="batch")


def cox_dataset(folder):
    return fitted(CoxNNRegressor, Rows(X), batch_size=40, iterator_train__window_bytes=600)


def cox_dataset_of_tensors(folder):
    return fitted(CoxNNRegressor, Batches(tensor(X)), batch_size=40, norm="layer")


def cox_mapped(folder):
    data = mapped(X, folder)
    return fitted(CoxNNRegressor, data, batch_size=40, iterator_train__window_bytes=600)


def cox_own_module(folder):
    return fitted(CoxNNRegressor, module=Own, batch_size=40, optimizer=torch.optim.AdamW)


def cox_own_optimizer(folder):
    return fitted(CoxNNRegressor, batch_size=40, optimizer=torch.optim.Adagrad)


def cox_checkpoint(folder):
    callbacks = [("checkpoint", TrainingCheckpoint(folder / "checkpoint.pt"))]
    return fitted(CoxNNRegressor, batch_size=40, callbacks=callbacks)


def weibull_fit(folder):
    return fitted(WeibullAFTRegressor, batch_size=40)


def weibull_columns(folder):
    given = {"entry": ENTRY, "sample_weight": WEIGHT}
    return fitted(WeibullAFTRegressor, given=given, batch_size=40, early_stopping=True)


def weibull_linear(folder):
    return fitted(WeibullAFTRegressor, hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=5)


def weibull_momentum(folder):
    return fitted(WeibullAFTRegressor, batch_size=40, momentum=True, shape="per_sample")


def weibull_mapped(folder):
    return fitted(WeibullAFTRegressor, mapped(X, folder), batch_size=40)


def saved_and_loaded(folder):
    parts = {}
    for kind in (CoxNNRegressor, WeibullAFTRegressor):
        model = kind(hidden_layer_sizes=(4,), max_epochs=2, batch_size=40, random_state=0)
        save(model.fit(X, Y), folder / "model.safetensors")
        loaded = load(folder / "model.safetensors")
        parts |= {f"{kind.__name__}, {k}": v for k, v in said(loaded).items()}
        again = loaded.partial_fit(X, Y).predict(X)
        parts |= {f"{kind.__name__}, again": again}
    return parts


def plain_net(folder):
    net = SurvivalNet(MLP, module__n_features=3, max_epochs=2, batch_size=40, verbose=0, lr=0.1)
    torch.manual_seed(0)
    net.iterator_train__shuffle = False
    net.fit(X, survival_target(Y, entry=ENTRY, weight=WEIGHT))
    return {"predict": net.predict(X)}


def built_in_networks(folder):
    torch.manual_seed(0)
    network = SharedShape(MLP(3, hidden_layer_sizes=(4,), norm="batch"))
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return dict(network.state_dict()) | {"output": network(tensor(X))}


def cox_loss(folder):
    parts = {}
    for reduction in ("mean", "sum", "none"):
        for ties in ("efron", "breslow"):
            loss = CoxPHLoss(ties=ties, reduction=reduction)
            made = gradient_of(loss, tensor(X[:, 0]), **column_tensors())
            parts |= {f"{reduction}, {ties}, {k}": v for k, v in made.items()}
            made = gradient_of(loss, tensor(X[:, :1]), EVENT, TIME, weight=WEIGHT)
            parts |= {f"{reduction}, {ties}, arrays, {k}": v for k, v in made.items()}
    return parts


def losses_of_lists(folder):
    lists = {"event": EVENT.tolist(), "time": (0.1 * TIME).tolist(), "weight": WEIGHT.tolist()}
    cox = gradient_of(CoxPHLoss(), tensor(X[:, 0]), **lists)
    weibull = gradient_of(WeibullAFTLoss(), tensor(X[:, :2]), **lists)
    return {**cox, **{f"weibull {k}": v for k, v in weibull.items()}}


def weibull_loss(folder):
    columns = column_tensors()
    del columns["stratum"]
    parts = {}
    for reduction in ("mean", "sum", "none"):
        loss = WeibullAFTLoss(reduction=reduction)
        for width in (1, 2):
            made = gradient_of(loss, tensor(X[:, :width]), **columns)
            parts |= {f"{reduction}, {width}, {k}": v for k, v in made.items()}
    return parts


def momentum_losses(folder):
    parts = {}
    columns = column_tensors()
    index = tensor(np.arange(N))
    for gradient in ("exact", "balanced"):
        loss = losses.MomentumLoss(CoxPHLoss(), bank_size=50, gradient=gradient)
        for start in (0, 30, 60, 20):
            rows = slice(start, start + 30)
            batch = {name: column[rows] for name, column in columns.items()}
            output = tensor(X[rows, 0]).requires_grad_()
            value = loss((output, output.detach()), batch | {"index": index[rows]})
            value.backward()
            parts |= {f"{gradient} {start}": value, f"{gradient} {start} gradient": output.grad}
    network = losses.MomentumNetwork(MLP(3, hidden_layer_sizes=(2,)))
    network(tensor(X))
    parts["n_averaged"] = network.state_dict()["_extra_state"]
    parts["gathered"] = losses.GatheredLoss(CoxPHLoss())(tensor(X[:, 0]), **columns)
    return parts


def segmentation_losses(folder):
    target = tensor((PREDICTION > 0).astype(np.float32))
    weight = tensor(np.abs(PREDICTION))
    made = (
        losses.DummyLoss(),
        losses.MSELoss(normalize="weight"),
        losses.MSELoss(weighting="dacapo", reduction="sum"),
        losses.AffinitiesLoss(2, 0.5),
        losses.HotDistanceLoss(reduction="none"),
    )
    parts = {}
    for number, loss in enumerate(made):
        found = gradient_of(loss, tensor(PREDICTION), (target, weight))
        parts |= {f"{number}, {k}": v for k, v in found.items()}
    return parts


def functions(folder):
    log_params, times = tensor(X[:, :2]), tensor(TIME[:7])
    names = ("log_hazard", "log_cumulative_hazard", "cumulative_hazard", "survival")
    parts = {name: getattr(functional, f"weibull_{name}")(log_params, times) for name in names}
    parts["of a list"] = functional.weibull_survival(log_params, [0.1, 0.7])
    parts["quantile"] = functional.weibull_quantile(log_params, [0.1, 0.5])
    parts["median"] = functional.weibull_median(log_params)
    parts["mean"] = functional.weibull_mean(log_params)
    generator = torch.Generator("cpu").manual_seed(0)
    parts["sample"] = functional.weibull_sample(log_params, 3, generator=generator)
    columns = column_tensors()
    for without in ("stratum", "entry", None):
        given = {name: column for name, column in columns.items() if name != without}
        baseline = functional.breslow_baseline(tensor(X[:, 0]), **given)
        parts |= {f"baseline {without} {i}": x for i, x in enumerate(baseline) if x is not None}
    risk_sets = functional.RiskSets(**{k: columns[k] for k in ("event", "time", "weight")})
    rows = tensor(np.arange(N))
    parts |= {
        f"split {i}": functional.cox_neg_partial_log_likelihood(tensor(X[:60, 0]), risk_sets=part)
        for i, part in enumerate(risk_sets.split(rows, [60, 60]))
    }
    return parts


def metrics_and_targets(folder):
    score = X[:, 0]
    index = metrics.concordance_index_censored(EVENT, TIME, tensor(score))
    known = tensor(LABELS > 0).numpy()
    return {
        "concordance": np.array(index),
        "distance": targets.signed_distance(tensor(LABELS), scale=2.0)[0],
        "hot": targets.hot_distance(LABELS, scale=None, mask=known)[0],
        "affinities": targets.affinities(LABELS, [(0, 1), (1, 0)])[0],
        "descriptors": targets.local_shape_descriptors(LABELS, sigma=2.0),
        "weights": targets.balance_weights(LABELS > 0),
    }


CASES = (
    cox_fit,
    cox_linear,
    cox_columns,
    cox_lists,
    cox_momentum,
    cox_momentum_strata,
    cox_early_stopping,
    cox_dataset,
    cox_dataset_of_tensors,
    cox_mapped,
    cox_own_module,
    cox_own_optimizer,
    cox_checkpoint,
    weibull_fit,
    weibull_columns,
    weibull_linear,
    weibull_momentum,
    weibull_mapped,
    saved_and_loaded,
    plain_net,
    built_in_networks,
    cox_loss,
    losses_of_lists,
    weibull_loss,
    momentum_losses,
    segmentation_losses,
    functions,
    metrics_and_targets,
)


def bits(value):
    """Where a value is, its dtype, its shape and its bytes."""
    if isinstance(value, torch.Tensor):
        assert value.device == torch.device("cpu")
        value = value.detach().numpy()
    return value.dtype.str, value.shape, value.tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_torch_defaults_change_nothing(case, tmp_path):
    def found(name):
        folder = tmp_path / name
        folder.mkdir()
        return {part: bits(value) for part, value in case(folder).items()}

    expected = found("none")
    for name, others in OTHERS.items():
        with defaults(*others):
            made = found(name)
        assert made.keys() == expected.keys()
        differ = [part for part in expected if made[part] != expected[part]]
        assert not differ, name


class TakesDefaults(nn.Module):
    """A network that makes a tensor without a device, as it may where a default is set."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, device="cpu", dtype=torch.float32)

    def forward(self, X):
        seen.append(torch.zeros(1).device.type)
        return self.layer(X)


seen: list[str] = []


def test_an_own_network_is_called_with_the_default_device_of_its_user():
    seen.clear()
    with torch.device("meta"):
        model = CoxNNRegressor(module=TakesDefaults, max_epochs=1, optimizer=torch.optim.Adam)
        model.fit(X, Y)
    assert set(seen) == {"meta"}


def test_an_own_network_without_numbers_is_refused():
    with torch.device("meta"):
        module = nn.Linear(3, 1)
    with pytest.raises(ValueError, match=r"^`module` must hold numbers, got the device 'meta'"):
        CoxNNRegressor(module=module, max_epochs=1).fit(X, Y)


#: What torch makes on its default device, and the layers of networks; in its default dtype, too.
BY_DEVICE = {
    *("empty", "zeros", "ones", "full", "arange", "linspace", "logspace", "eye", "tensor"),
    *("scalar_tensor", "rand", "randn", "randint", "randperm", "as_tensor", "asarray"),
    *("Linear", "BatchNorm1d", "LayerNorm", "Embedding", "Bilinear"),
}
#: Which take the dtype of what they are given, or have none to choose.
WITHOUT_DTYPE = {"as_tensor", "asarray"}


def calls_without(path):
    """Where a tensor is made without a device or a dtype."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if owner not in ("torch", "nn", "torch.nn") or node.func.attr not in BY_DEVICE:
            continue
        named = {keyword.arg for keyword in node.keywords}
        needed = {"device"} if node.func.attr in WITHOUT_DTYPE else {"device", "dtype"}
        if None not in named and not needed <= named:  # None stands for **options
            yield f"{path}:{node.lineno} {ast.unparse(node)}"


def test_each_tensor_is_made_with_a_device_and_a_dtype():
    folder = Path(sksurvtorch.__file__).parent
    assert [call for path in folder.rglob("*.py") for call in calls_without(path)] == []


def test_a_tensor_without_a_device_is_found(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("torch.zeros(3, dtype=d)\ntorch.zeros(3, dtype=d, device=e)\nx.tensor(1)\n")
    assert len([*calls_without(path)]) == 1
