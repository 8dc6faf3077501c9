"""Searches, cross-validation and importances of scikit-learn, and metadata routed through them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
import torch
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.contract.small_models import both, own_columns, small


@both
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hidden_layer_sizes", [(), (4,)]),
        ("alpha", [0.1, 100.0]),
        ("optimizer__weight_decay", [0.0, 10.0]),
    ],
)
def test_a_search_in_a_pipeline_reaches_each_parameter(kind, name, values, veterans):
    X, y = (part[::2] for part in veterans)
    pipeline = make_pipeline(StandardScaler(), small(kind, lr=0.05))
    step = kind.__name__.lower()
    search = GridSearchCV(pipeline, {f"{step}__{name}": values}, cv=KFold(2), error_score="raise")
    search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    by_hand = [
        cross_val_score(
            make_pipeline(StandardScaler(), small(kind, **{"lr": 0.05, name: value})),
            X,
            y,
            cv=KFold(2),
        ).mean()
        for value in values
    ]
    np.testing.assert_array_equal(scores, by_hand)
    np.testing.assert_array_equal(
        search.best_estimator_[-1].get_params()[name], values[np.argmax(scores)]
    )
    assert search.score(X, y) == search.best_estimator_.score(X, y)


@both
def test_cross_validation_scores_each_fold_by_concordance(kind, veterans):
    X, y = veterans
    X = X.to_numpy()
    folds = KFold(3, shuffle=True, random_state=0)
    result = cross_validate(
        small(kind), X, y, cv=folds, return_estimator=True, return_train_score=True
    )
    for fold, (train, test) in enumerate(folds.split(X)):
        model = small(kind).fit(X[train], y[train])
        assert result["test_score"][fold] == model.score(X[test], y[test])
        assert result["train_score"][fold] == model.score(X[train], y[train])
    predicted = cross_val_predict(small(kind), X, y, cv=folds)
    np.testing.assert_array_equal(predicted[test], model.predict(X[test]))


@both
def test_permutation_importance_finds_the_feature_that_matters(kind, veterans):
    X, y = veterans
    model = small(kind, max_epochs=10).fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    assert X.columns[importance.importances_mean.argmax()] == "Karnofsky_score"


@both
@pytest.mark.parametrize("name", ["entry", "stratum", "sample_weight"])
def test_metadata_are_routed_through_a_pipeline(kind, name, veterans, veterans_columns):
    X, y = veterans
    given = own_columns(kind, veterans_columns)
    if name not in given:
        assert not hasattr(kind.fit, name)
        return
    with sklearn.config_context(enable_metadata_routing=True):
        request = dict.fromkeys(given, False) | {name: True}
        net = small(kind).set_fit_request(**request)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net).fit(
            X, y, **{name: given[name]}
        )
    Z = StandardScaler().fit_transform(X)
    routed = pipeline[-1].net_.module_.state_dict()
    expected = small(kind).fit(Z, y, **{name: given[name]}).net_.module_.state_dict()
    plain = small(kind).fit(Z, y).net_.module_.state_dict()
    assert all(torch.equal(routed[key], expected[key]) for key in expected)
    assert not all(torch.equal(routed[key], plain[key]) for key in plain)


@both
def test_metadata_are_routed_and_split_by_cross_validate(kind, veterans, veterans_columns):
    X, y = veterans
    X = X.to_numpy()
    given = own_columns(kind, veterans_columns)
    folds = KFold(2, shuffle=True, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = small(kind).set_fit_request(**dict.fromkeys(given, True))
        net.set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
        scores = cross_validate(pipeline, X, y, cv=folds, params=given)["test_score"]
        search = GridSearchCV(
            pipeline, {f"{kind.__name__.lower()}__lr": [1e-3]}, cv=folds, error_score="raise"
        ).fit(X, y, **given)
    for fold, (train, test) in enumerate(folds.split(X)):
        scaler = StandardScaler().fit(X[train])
        model = small(kind).fit(
            scaler.transform(X[train]), y[train], **{k: v[train] for k, v in given.items()}
        )
        weight = given["sample_weight"][test]
        expected = model.score(scaler.transform(X[test]), y[test], weight)
        assert scores[fold] == expected
        assert search.cv_results_[f"split{fold}_test_score"][0] == expected
        assert expected != model.score(scaler.transform(X[test]), y[test])
