"""How many networks a fit makes, where `n_estimators` is left open."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from torch.utils.data import Dataset

from sksurvtorch import CoxNNRegressor, load, save
from tests.contract.small_models import Mlp, both, predictions
from tests.unit.refusals import refuses

SMALL = {"max_epochs": 2, "batch_size": 100, "random_state": 0}
OPTIONS = {
    "nothing": ({}, 15),
    "one layer": ({"hidden_layer_sizes": 4}, 15),
    "batch norm": ({"norm": "batch", "hidden_layer_sizes": 4}, 15),
    "early stopping": ({"early_stopping": True, "hidden_layer_sizes": 4}, 15),
    "one alpha": ({"alpha": 2.0, "hidden_layer_sizes": 4}, 15),
    "three alphas": ({"alpha": (1.0, 2.0, 3.0), "hidden_layer_sizes": 4}, 15),
    "linear": ({"hidden_layer_sizes": ()}, 1),
    "lbfgs": ({"hidden_layer_sizes": 4, "optimizer": "lbfgs"}, 1),
    "own network": ({"module": Mlp, "batch_size": 200}, 1),
    "momentum": ({"momentum": True, "hidden_layer_sizes": 4}, 1),
    "accelerator": ({"accelerator": "auto", "hidden_layer_sizes": 4}, 1),
}


@pytest.fixture(scope="module")
def few(whas500):
    X, y = whas500
    return X[:120], y[:120]


def with_outputs(kind, parameters):
    """Parameters that suit the number of outputs of a kind."""
    n_outputs = 1 if kind is CoxNNRegressor else 2
    own = {"module__n_outputs": n_outputs, "shape": "per_sample"} if "module" in parameters else {}
    if kind is CoxNNRegressor:
        own.pop("shape", None)
    return SMALL | parameters | own


@both
@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.filterwarnings("ignore:L-BFGS has not reached an optimum")
def test_the_number_is_chosen_by_what_the_networks_are(kind, case, few):
    X, y = few
    parameters, number = OPTIONS[case]
    parameters = with_outputs(kind, parameters)
    model = kind(**parameters).fit(X, y)
    assert model.n_estimators == "auto"
    assert model.n_estimators_ == number == len(model.predict_members(X))
    given = kind(**parameters, n_estimators=number).fit(X, y)
    assert given.n_estimators_ == number
    np.testing.assert_array_equal(predictions(model, X), predictions(given, X))


@both
@pytest.mark.parametrize(("n_events", "number"), [(4, 1), (5, 15)])
def test_few_events_make_one_network(kind, n_events, number, few):
    X, y = few[0], few[1].copy()
    y["event"] = False
    y["event"][:n_events] = True
    assert kind(**SMALL, hidden_layer_sizes=4).fit(X, y).n_estimators_ == number


@both
def test_events_that_are_set_aside_do_not_count(kind, few):
    X, y = few[0], few[1].copy()
    y["event"] = np.arange(len(y)) < 10
    for share, number in ((0.8, 1), (0.2, 15)):
        model = kind(**SMALL, hidden_layer_sizes=4, early_stopping=True, validation_fraction=share)
        assert model.fit(X, y).n_estimators_ == number


class Stored(Dataset):
    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.X[index]


@both
def test_rows_of_a_dataset_train_one_network(kind, few):
    """They may have other values whenever they are read."""
    X, y = few
    assert kind(**SMALL, hidden_layer_sizes=4).fit(Stored(X), y).n_estimators_ == 1


@both
@pytest.mark.parametrize(("share", "number"), [(0.99, 1), (1.0, 15)])
def test_a_memory_map_that_is_no_larger_than_a_window_is_as_good_as_memory(
    kind, share, number, few, tmp_path
):
    """joblib makes memory maps of the arrays that it hands to its processes."""
    X, y = few
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    window = {"iterator_train__window_bytes": int(share * X.nbytes)}
    model = kind(**SMALL, **window, hidden_layer_sizes=4).fit(mapped, y)
    assert model.n_estimators_ == number
    if number > 1:
        in_memory = kind(**SMALL, **window, hidden_layer_sizes=4).fit(X, y)
        np.testing.assert_array_equal(predictions(model, X), predictions(in_memory, X))


@both
def test_partial_fit_trains_what_there_is_or_one_network(kind, few):
    X, y = few
    model = kind(**SMALL, hidden_layer_sizes=4)
    assert model.partial_fit(X, y).n_estimators_ == 1
    assert model.partial_fit(X, y).n_iter_ == 2
    assert model.fit(X, y).n_estimators_ == 15
    assert model.partial_fit(X, y).n_estimators_ == 15


@both
def test_a_training_that_goes_on_keeps_its_networks(kind, few):
    X, y = few
    model = kind(**SMALL, hidden_layer_sizes=4, warm_start=True).fit(X, y)
    rare = y.copy()
    rare["event"] = np.arange(len(y)) < 3
    assert model.fit(X, rare).n_estimators_ == 15
    model.set_params(n_estimators=15).fit(X, y)
    refuses(
        lambda: model.set_params(n_estimators=1).fit(X, y),
        ValueError,
        "`n_estimators` must stay 15 where the training of a network goes on, got 1. Fit with "
        "warm_start=False to make a new network.",
    )
    assert model.n_estimators_ == 15


@both
def test_each_fit_chooses_anew(kind, few):
    X, y = few
    model = kind(**SMALL, hidden_layer_sizes=4).fit(X, y)
    assert model.set_params(momentum=True).fit(X, y).n_estimators_ == 1
    assert not hasattr(model, "oob_prediction_")
    assert model.set_params(momentum=False).fit(X, y).n_estimators_ == 15
    with pytest.raises(ValueError, match="`alpha` must be at least"):
        model.set_params(momentum=True, alpha=-1.0).fit(X, y)
    assert model.n_estimators_ == 15
    assert not hasattr(clone(model), "n_estimators_")


@both
def test_a_file_knows_the_number(kind, few, tmp_path):
    X, y = few
    for parameters, number in (({}, 15), ({"momentum": True}, 1)):
        model = kind(**SMALL, hidden_layer_sizes=4, **parameters).fit(X, y)
        save(model, tmp_path / "model")
        again = load(tmp_path / "model")
        assert (again.n_estimators, again.n_estimators_) == ("auto", number)
        np.testing.assert_array_equal(predictions(again, X), predictions(model, X))
        assert again.fit(X, y).n_estimators_ == number


@both
def test_penalties_for_more_networks_than_there_are(kind, few):
    X, y = few
    for parameters in ({"momentum": True}, {"hidden_layer_sizes": ()}):
        refuses(
            lambda given=parameters: kind(alpha=(1.0, 2.0), **given).fit(X, y),
            ValueError,
            "`alpha` must hold at least one value, and at most one for 5 networks, got (1.0, 2.0) "
            "for n_estimators=1. Set `n_estimators` to at least 10, or give a number.",
        )


@both
def test_a_number_that_is_none(kind, few):
    X, y = few
    for number, said in (
        ("many", "an integer or 'auto', got 'many' of type str."),
        (None, "an integer or 'auto', got None of type NoneType."),
        (2.0, "an integer or 'auto', got 2.0 of type float."),
    ):
        refuses(
            lambda n=number: kind(n_estimators=n).fit(X, y),
            TypeError,
            f"`n_estimators` must be {said}",
        )
    refuses(
        lambda: kind(n_estimators=0).fit(X, y),
        ValueError,
        "`n_estimators` must be at least 1, got 0.",
    )
