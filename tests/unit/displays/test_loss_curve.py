"""Curves of the loss: those of the history, and the epoch whose weights were kept."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.displays import LossCurveDisplay
from tests.unit.displays.patients import X, Y, texts_of_legend
from tests.unit.refusals import refuses


def test_losses_are_those_of_the_history(stopped):
    display = LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), stopped))
    history = stopped.net_.history
    np.testing.assert_array_equal(display.train_loss, history[:, "train_loss"])
    np.testing.assert_array_equal(display.valid_loss, history[:, "valid_loss"])
    np.testing.assert_array_equal(display.train_line_.get_xdata(), np.arange(len(history)) + 1)
    np.testing.assert_array_equal(display.valid_line_.get_ydata(), history[:, "valid_loss"])
    best = display.best_epoch
    assert best == np.argmin(history[:, "valid_loss"]) + 1 < len(history)
    assert display.best_line_.get_xdata()[0] == best
    labels = ["Training with penalty", "Validation", f"Best epoch: {best}"]
    assert texts_of_legend(display.valid_ax_) == labels


@pytest.mark.parametrize("tol", [0.0, 0.01])
def test_best_epoch_is_the_one_whose_weights_were_kept(tol):
    """Training for just so many epochs gives the same model."""
    model = CoxNNRegressor(
        max_epochs=10, early_stopping=True, tol=tol, lr_schedule="constant", lr=0.02, random_state=0
    ).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    lowest = int(np.argmin(display.valid_loss)) + 1
    assert (display.best_epoch == lowest) == (tol == 0)
    assert 1 <= display.best_epoch < len(display.train_loss)
    short = model.set_params(max_epochs=display.best_epoch)
    kept = model.predict(X)
    np.testing.assert_array_equal(short.fit(X, Y).predict(X), kept)


def test_no_validation_no_best_epoch():
    display = LossCurveDisplay.from_estimator(CoxNNRegressor(max_epochs=2).fit(X, Y))
    assert display.valid_loss is None
    assert display.best_epoch is None
    assert display.valid_line_ is None
    assert display.best_line_ is None
    assert display.ax_.get_ylabel() == "Negative log partial likelihood per event"


@pytest.mark.parametrize(
    ("kind", "options", "name", "axis"),
    [
        (CoxNNRegressor, {"alpha": 0}, "Negative log partial likelihood per event", "own"),
        (WeibullAFTRegressor, {"alpha": 0}, "Negative log likelihood per sample", "same"),
        (WeibullAFTRegressor, {}, "Negative log likelihood per sample", "own"),
        (CoxNNRegressor, {"momentum": True}, "Negative log partial likelihood per event", "own"),
    ],
)
def test_label_and_axes_of_the_loss(kind, options, name, axis):
    model = kind(max_epochs=2, early_stopping=True, random_state=0, **options).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.loss_name == name
    assert display.penalised == (options.get("alpha") != 0)
    assert (display.valid_ax_ is not display.ax_) == (axis == "own")
    labels = [name] if axis == "same" else [f"{name}, training", f"{name}, validation"]
    axes = dict.fromkeys([display.ax_, display.valid_ax_])
    assert [ax.get_ylabel() for ax in axes] == labels
    assert LossCurveDisplay.from_estimator(model, valid_axis="same").valid_ax_.lines
    display.plot(valid_axis="same")
    assert display.valid_ax_ is display.ax_


def test_a_net_of_skorch_has_a_loss_too():
    net = NeuralNetRegressor(nn.Linear, module__in_features=4, module__out_features=1, verbose=0)
    net.set_params(max_epochs=3)
    refuses(
        lambda: LossCurveDisplay.from_estimator(net),
        ValueError,
        "`estimator` must have a training loss in its history, got 0 epochs and none. Fit it "
        "first.",
    )
    rows = StandardScaler().fit_transform(X).astype("float32")
    net.fit(rows, rows[:, :1])
    display = LossCurveDisplay.from_estimator(net, name="net")
    assert display.best_epoch == np.argmin(net.history[:, "valid_loss"]) + 1
    assert display.ax_.get_ylabel() == "Loss (MSELoss)"
    assert texts_of_legend(display.ax_)[:2] == ["Net, training", "Net, validation"]


def test_loss_curve_refuses(cox, stopped):
    refuses(
        lambda: LossCurveDisplay.from_estimator(cox),
        TypeError,
        "`estimator` must be an estimator of this package, a pipeline or a search that ends in "
        "one, or a skorch net, got CoxPHSurvivalAnalysis. It has no history of losses.",
    )
    refuses(
        lambda: LossCurveDisplay.from_estimator(stopped, valid_axis="twin"),
        ValueError,
        "`valid_axis` must be one of 'auto', 'same', 'own', got 'twin'.",
    )
