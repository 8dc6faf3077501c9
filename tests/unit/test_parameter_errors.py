"""Every sentence that refuses a parameter of an estimator, word for word."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.nets.callbacks import CosineDecay
from tests.unit.refusals import X, Y, both, refuses


@both
def test_the_constructor_refuses_nothing(kind):
    """As scikit-learn asks: fit does."""
    names = inspect.signature(kind).parameters.keys() - {"kwargs"}
    bad = object()
    model = kind(**dict.fromkeys(names, bad))
    assert all(model.get_params(deep=False)[name] is bad for name in names)


@both
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("optimizer", "'adam', 'sgd', 'lbfgs' or a class such as torch.optim.AdamW"),
        ("activation", "'relu', 'gelu', 'selu', 'silu', 'tanh'"),
        ("norm", "None, 'batch', 'layer'"),
        ("dtype", "'auto', 'float32', 'float64'"),
        ("lr_schedule", "'cosine', 'constant'"),
    ],
)
def test_an_option_that_is_none_of_them(kind, name, options):
    sentence = f"`{name}` must be one of {options}, got 'other'."
    refuses(lambda: kind(**{name: "other"}).fit(X, Y), ValueError, sentence)


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (CoxNNRegressor, "ties", "'efron', 'breslow'"),
        (WeibullAFTRegressor, "shape", "'shared', 'per_sample'"),
    ],
)
def test_an_own_option_that_is_none_of_them(kind, name, options):
    for value in ("other", None, 1, True):
        sentence = f"`{name}` must be one of {options}, got {value!r}."
        refuses(lambda value=value: kind(**{name: value}).fit(X, Y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    "option",
    [{"activation": "other"}, {"norm": "other"}],
    ids=lambda option: next(iter(option)),
)
def test_options_are_checked_whether_needed_or_not(kind, option):
    """A linear net has no activation, a module of the user's own has its own."""
    for other in ({"hidden_layer_sizes": ()}, {"module": nn.Linear(3, 1)}):
        with pytest.raises(ValueError, match="must be one of"):
            kind(**option, **other, max_epochs=1).fit(X, Y)


@both
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dropout", -0.1, "at least 0.0 and less than 1.0"),
        ("dropout", 1.5, "at least 0.0 and less than 1.0"),
        ("lr", 0, "more than 0.0"),
        ("lr", -1.0, "more than 0.0"),
        ("lr", float("nan"), "finite"),
        ("alpha", float("inf"), "finite"),
        ("alpha", -1, "at least 0.0"),
        ("max_epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("validation_fraction", 0, "more than 0.0 and less than 1.0"),
        ("validation_fraction", 1.5, "more than 0.0 and less than 1.0"),
        ("n_iter_no_change", 0, "at least 1"),
        ("n_estimators", 0, "at least 1"),
        ("tol", -1, "at least 0.0"),
        ("hidden_layer_sizes", -1, "at least 1"),
        ("verbose", -1, "at least 0"),
    ],
)
def test_a_number_out_of_range(kind, name, value, rule):
    sentence = f"`{name}` must be {rule}, got {value!r}."
    refuses(lambda: kind(**{name: value}).fit(X, Y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("dropout", "high", "a number"),
        ("dropout", True, "a number"),
        ("lr", None, "a number"),
        ("alpha", "big", "a number"),
        ("max_epochs", 2.5, "an integer"),
        ("max_epochs", None, "an integer"),
        ("batch_size", 10.0, "an integer"),
        ("batch_size", "all", "an integer"),
        ("validation_fraction", "half", "a number"),
        ("n_iter_no_change", 1.5, "an integer"),
        ("n_estimators", 2.0, "an integer"),
        ("n_estimators", None, "an integer"),
        ("n_estimators", True, "an integer"),
        ("tol", None, "a number"),
    ],
)
def test_what_is_no_number(kind, name, value, word):
    word += " or 'auto'" * (name in ("lr", "alpha", "max_epochs", "n_estimators"))
    sentence = f"`{name}` must be {word}, got {value!r} of type {type(value).__name__}."
    refuses(lambda: kind(**{name: value}).fit(X, Y), TypeError, sentence)


@both
@pytest.mark.parametrize("value", [np.int64(3), np.array(3)[()]])
def test_numpy_numbers_are_numbers(kind, value):
    model = kind(hidden_layer_sizes=(value,), max_epochs=value, batch_size=value * 3, lr=value / 9)
    assert model.fit(X, Y).n_iter_ == 3


def test_cox_takes_no_batches_of_one():
    refuses(
        lambda: CoxNNRegressor(batch_size=1).fit(X, Y),
        ValueError,
        "`batch_size` must be at least 2 for a Cox model, got 1. A risk set of one row has a "
        "likelihood of 1 whatever the network says; set `momentum` to True so that it spans "
        "earlier batches.",
    )


@both
def test_a_validation_set_of_all_rows_is_refused(kind):
    refuses(
        lambda: kind(early_stopping=True, validation_fraction=1.0).fit(X, Y),
        ValueError,
        "`validation_fraction` must be more than 0.0 and less than 1.0, got 1.0.",
    )


@both
@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_an_unknown_device(kind, device):
    sentence = (
        r"^`device` must name a device of this machine, such as 'cpu', 'cuda' or 'auto', got "
        rf"'{device}' \(.+\)\.$"
    )
    with pytest.raises(ValueError, match=sentence):
        kind(device=device).fit(X, Y)


@both
@pytest.mark.parametrize("optimizer", [3, None, nn.Linear])
def test_an_optimizer_that_is_none(kind, optimizer):
    refuses(
        lambda: kind(optimizer=optimizer).fit(X, Y),
        TypeError,
        "`optimizer` must be one of 'adam', 'sgd', 'lbfgs' or a class such as torch.optim.AdamW, "
        f"got {optimizer!r}.",
    )


@both
def test_an_instance_of_an_optimizer(kind):
    refuses(
        lambda: kind(optimizer=torch.optim.Adam([torch.zeros(1)])).fit(X, Y),
        TypeError,
        "`optimizer` must be one of 'adam', 'sgd', 'lbfgs' or a class such as torch.optim.AdamW, "
        "got an instance of Adam; give options as optimizer__name.",
    )


@both
@pytest.mark.parametrize("callbacks", [[3], [("name", 3)], {"name": "3"}])
def test_callbacks_that_are_none(kind, callbacks):
    item = ("name", "3") if isinstance(callbacks, dict) else callbacks[0]
    refuses(
        lambda: kind(callbacks=callbacks).fit(X, Y),
        TypeError,
        f"`callbacks` must be skorch callbacks, or pairs of a name and a callback, got {item!r}.",
    )


@both
@pytest.mark.parametrize("callbacks", [EpochScoring("r2"), np.ones(3), "disable", 3, True])
def test_callbacks_that_are_no_list(kind, callbacks):
    refuses(
        lambda: kind(callbacks=callbacks).fit(X, Y),
        TypeError,
        "`callbacks` must be a list of skorch callbacks, or of pairs of a name and a callback, got "
        f"{type(callbacks).__name__}.",
    )


@both
@pytest.mark.parametrize(
    ("callback", "name", "watched"),
    [
        (EarlyStopping(), "EarlyStopping", "loss"),
        (EarlyStopping, "EarlyStopping", "loss"),
        (("best", Checkpoint()), "Checkpoint", "loss_best"),
        (LRScheduler("ReduceLROnPlateau", monitor="valid_loss"), "LRScheduler", "loss"),
    ],
    ids=["stopping", "class", "checkpoint", "scheduler"],
)
def test_a_callback_that_monitors_a_loss_that_is_not_there(kind, callback, name, watched):
    refuses(
        lambda: kind(callbacks=[callback], lr_schedule="constant").fit(X, Y),
        ValueError,
        f"`early_stopping` must be True beside {name}, which monitors 'valid_{watched}', got "
        "False. There is no validation loss without it; or monitor "
        f"'train_{watched}'.",
    )


@both
@pytest.mark.parametrize("scheduler", [LRScheduler(), LRScheduler, CosineDecay(3)])
@pytest.mark.parametrize("named", [False, True])
def test_a_scheduler_beside_the_built_in_one(kind, scheduler, named):
    """Both used to act, and their factors multiplied."""
    name = "CosineDecay" if isinstance(scheduler, CosineDecay) else "LRScheduler"
    callbacks = [("rate", scheduler)] if named else [scheduler]
    refuses(
        lambda: kind(callbacks=callbacks).fit(X, Y),
        ValueError,
        f"`lr_schedule` must be 'constant' beside {name} among the callbacks, got 'cosine'. Both "
        "would change the learning rate.",
    )


@both
@pytest.mark.parametrize(
    ("option", "default"),
    [
        ({"hidden_layer_sizes": (32,)}, "(64, 64)"),
        ({"hidden_layer_sizes": []}, "(64, 64)"),
        ({"hidden_layer_sizes": 5}, "(64, 64)"),
        ({"activation": "tanh"}, "'relu'"),
        ({"dropout": 0.3}, "0.0"),
        ({"norm": "batch"}, "None"),
    ],
    ids=str,
)
def test_options_of_the_built_in_network_beside_a_module(kind, option, default):
    [(name, value)] = option.items()
    refuses(
        lambda: kind(module=nn.LazyLinear(1), **option).fit(X, Y),
        ValueError,
        f"`{name}` must stay {default} beside a `module`, got {value!r}. It is a parameter of the "
        "built-in network; those of your own are module__name.",
    )


@both
def test_default_options_of_the_built_in_network_may_be_given_beside_a_module(kind):
    given = {"hidden_layer_sizes": [64, 64], "activation": "relu", "dropout": 0, "norm": None}
    model = kind(module=nn.LazyLinear(1), max_epochs=1, **given).fit(X, Y)
    [layer] = [m for m in model.net_.module_.modules() if isinstance(m, nn.Linear)]
    assert layer.out_features == 1


@both
def test_a_subclass_may_decide_the_built_in_network(kind):
    class Deep(kind):
        def __init__(self, module=None):
            super().__init__(hidden_layer_sizes=(9, 9, 9), max_epochs=1, module=module)

    for module in (None, nn.LazyLinear(1)):
        assert np.isfinite(Deep(module).fit(X, Y).predict(X)).all()


@both
def test_a_misspelled_parameter_is_refused_by_fit(kind):
    model = kind(hiden_layer_sizes=(3,))
    for action in (model.fit, model.partial_fit):
        refuses(
            lambda action=action: action(X, Y),
            TypeError,
            f"{kind.__name__} has no parameter 'hiden_layer_sizes'. Did you mean "
            "'hidden_layer_sizes'? Besides those of its signature it takes names that start with "
            "module__, optimizer__, iterator_train__, callbacks__.",
        )


@both
@pytest.mark.parametrize("further", [{"optimizer__nonsense": 3}, {"iterator_train__nonsense": 3}])
def test_a_prefixed_parameter_that_nobody_takes_is_refused(kind, further):
    with pytest.raises(TypeError, match="nonsense"):
        kind(**further).fit(X, Y)


@both
def test_a_parameter_of_a_callback_that_is_not_there_is_refused(kind):
    with pytest.raises((TypeError, ValueError), match="nobody"):
        kind(callbacks__nobody__patience=3, max_epochs=1).fit(X, Y)
