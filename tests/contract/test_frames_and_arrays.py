"""Features as a frame of pandas, as a read-only array or in a memory map."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksurvtorch.nets.rows.mapped import MappedRows
from tests.contract.small_models import both, own_columns, small
from tests.contract.stored import mapped


@both
def test_pandas_goes_through_a_pipeline_with_its_names(kind, veterans):
    X, y = veterans
    pipeline = make_pipeline(StandardScaler(), small(kind)).set_output(transform="pandas")
    pipeline.fit(X, y)
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, X.columns)
    assert pipeline[-1].n_features_in_ == X.shape[1]
    by_array = make_pipeline(StandardScaler(), small(kind)).fit(X.to_numpy(), y)
    np.testing.assert_array_equal(pipeline.predict(X), by_array.predict(X.to_numpy()))
    assert not hasattr(by_array[-1], "feature_names_in_")


@both
def test_columns_in_another_order_are_refused(kind, veterans):
    X, y = veterans
    model = small(kind).fit(X, y)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="Feature names unseen at fit time"):
        model.predict(X.rename(columns={X.columns[0]: "other"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X.to_numpy())


@both
def test_a_frame_with_its_own_index_gives_rows_by_position(kind, veterans):
    X, y = veterans
    shuffled = X.set_axis(np.random.default_rng(0).permutation(len(X)))
    weight = pd.Series(np.linspace(0.5, 2, len(X)), index=X.index[::-1])
    ours = small(kind).fit(shuffled, y, sample_weight=weight)
    expected = small(kind).fit(X, y, sample_weight=weight.to_numpy())
    np.testing.assert_array_equal(ours.predict(X), expected.predict(X))


@pytest.fixture
def each_warning():
    """torch warns of some things once in a process only."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@both
@pytest.mark.usefixtures("each_warning")
def test_read_only_data_are_fine(kind, veterans, veterans_columns):
    """As joblib hands large arrays to its processes."""

    def locked(array):
        array = np.array(array)
        array.flags.writeable = False
        return array

    X, y = map(locked, veterans)
    given = own_columns(kind, veterans_columns)
    ours = small(kind, dtype="float64").fit(X, y, **{k: locked(v) for k, v in given.items()})
    expected = small(kind, dtype="float64").fit(*map(np.array, veterans), **given)
    np.testing.assert_array_equal(ours.predict(X), expected.predict(np.array(X)))
    assert ours.score(X, y, locked(given["sample_weight"])) > 0.5


@both
def test_a_memory_map_is_used_as_it_is(kind, veterans, tmp_path, monkeypatch):
    X, y = veterans
    X = mapped(X.to_numpy(dtype="float32"), tmp_path)
    sizes = []
    read = MappedRows.read

    def spy(rows, batches, *args):
        assert rows.array is X
        for batch in read(rows, batches, *args):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(MappedRows, "read", spy)
    options = {"hidden_layer_sizes": (4,), "max_epochs": 3, "batch_size": 40, "random_state": 0}
    options["n_estimators"] = 1
    model = kind(**options).fit(X, y)
    assert sizes.count(137) > 3  # in each epoch, and for the output of all rows
    in_memory = kind(**options).fit(np.array(X), y)
    np.testing.assert_allclose(model.predict(X), in_memory.predict(X), rtol=1e-4, atol=1e-5)
    assert np.std(in_memory.predict(X)) > 0.5


@both
@pytest.mark.parametrize("options", [{"batch_size": 40}, {"early_stopping": True}], ids=str)
def test_it_does_not_matter_whether_x_is_a_memory_map(kind, options, veterans, tmp_path):
    """As joblib makes of large arrays that it hands to its processes."""
    X, y = veterans
    X = mapped(X.to_numpy(dtype="float64"), tmp_path)
    options |= {"hidden_layer_sizes": (4,), "max_epochs": 5, "dtype": "float64", "random_state": 0}
    models = [kind(**options).fit(x, y) for x in (X, np.array(X))]
    one, other = (model.predict(np.array(X)) for model in models)
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@both
def test_a_linear_model_of_a_memory_map_is_that_of_the_array(kind, veterans, tmp_path):
    X, y = veterans
    X = mapped(X.to_numpy(dtype="float32"), tmp_path)
    linear = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}
    coefficients = [kind(**linear).fit(x, y).coef_ for x in (X, np.array(X, dtype=float))]
    assert coefficients[0].dtype == np.float64
    np.testing.assert_allclose(*coefficients, rtol=1e-6, atol=1e-8)


@both
def test_fit_leaves_its_input_as_it_was(kind, veterans, veterans_columns):
    X, y = veterans
    given = {"X": X.to_numpy(), "y": y, **own_columns(kind, veterans_columns)}
    before = copy.deepcopy(given)
    model = small(kind, dtype="float64").fit(**given)
    model.predict_survival_function(
        given["X"][:3], **({"stratum": given["stratum"][:3]} if "stratum" in given else {})
    )
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])
