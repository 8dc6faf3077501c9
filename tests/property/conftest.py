"""The data set that most theorems of estimators are tried on."""

from __future__ import annotations

import pytest
from sklearn.preprocessing import StandardScaler

from tests.property.small_fits import load_data_set


@pytest.fixture(scope="module")
def patients():
    """Veterans, standardised."""
    X, event, time = load_data_set("veterans")
    return StandardScaler().fit_transform(X), event, time
