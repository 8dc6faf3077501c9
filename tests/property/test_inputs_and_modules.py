"""Frames and samples of several axes, and modules of the user."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sksurvtorch import WeibullAFTRegressor
from tests.property.small_fits import ShiftedNet, both, fit_small, risk_and_survival, simulate


@both
def test_a_frame_is_its_array(kind, patients):
    X, event, time = patients
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    ours, expected = fit_small(kind, (frame, event, time)), fit_small(kind, patients)
    np.testing.assert_array_equal(risk_and_survival(ours, frame), risk_and_survival(expected, X))
    integers = (10 * frame).astype("int64").assign(flag=frame["x0"] > 0)
    mixed = fit_small(kind, (integers, event, time))
    expected = fit_small(kind, (integers.to_numpy(dtype=float), event, time))
    np.testing.assert_array_equal(
        risk_and_survival(mixed, integers),
        risk_and_survival(expected, integers.to_numpy(dtype=float)),
    )


@both
def test_samples_of_any_number_of_axes_with_a_module(kind):
    X, event, time = simulate(60, 12)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    flat = fit_small(kind, (X, event, time), module=module)
    cube = fit_small(kind, (X.reshape(60, 2, 3, 2), event, time), module=module)
    np.testing.assert_array_equal(
        risk_and_survival(cube, X.reshape(60, 2, 3, 2)), risk_and_survival(flat, X)
    )


@both
@pytest.mark.parametrize("made_by", ["instance", "class", "function"])
def test_a_module_may_be_an_instance_a_class_or_a_function(kind, made_by, patients):
    X, _, _ = patients
    module = {
        "instance": ShiftedNet(2.0),
        "class": ShiftedNet,
        "function": lambda shift: ShiftedNet(shift),
    }
    further = {} if made_by == "instance" else {"module__shift": 2.0}
    fitted = fit_small(kind, patients, module=module[made_by], **further)
    own = [part for part in fitted.net_.module_.modules() if isinstance(part, ShiftedNet)]
    assert own[0].shift == 2.0
    assert own[0] is not module["instance"]
    expected = fit_small(kind, patients, module=ShiftedNet, module__shift=2.0)
    if made_by != "instance":  # which brings its own random start
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))


@both
def test_a_module_of_the_user_is_not_trained(kind, patients):
    module = ShiftedNet()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    fit_small(kind, patients, module=module)
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_a_weibull_module_may_give_the_shape_too(patients):
    X, _, _ = patients
    fitted = fit_small(WeibullAFTRegressor, patients, module=nn.Linear(8, 2), shape="per_sample")
    scale, shape = fitted.predict_params(X)
    assert scale.shape == shape.shape == (len(X),)
    assert np.ptp(shape) > 0
