"""What a training prints, and where to."""

from __future__ import annotations

import builtins
import pickle
import sys
import types
import warnings

import numpy as np
import pytest

from sksurvtorch import CoxNNRegressor
from sksurvtorch.nets.penalty import SquaredWeights
from tests.contract.small_models import both, fitted


@both
def test_fit_warns_of_nothing_and_prints_nothing(kind, whas500, capsys):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitted(kind, whas500, early_stopping=True)
    assert not record
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@both
def test_verbose_prints_the_losses(kind, whas500, capsys):
    fitted(kind, whas500, verbose=2, max_epochs=2, early_stopping=True)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "valid_loss" in out


@both
@pytest.mark.parametrize(
    ("n_epochs", "shown"), [(2, [1, 2]), (25, range(2, 25, 2)), (4, range(1, 5))]
)
def test_a_log_gets_a_plain_line_now_and_then(kind, n_epochs, shown, whas500, capsys):
    options = {"early_stopping": True, "n_iter_no_change": 99}
    model = fitted(kind, whas500, verbose=1, max_epochs=n_epochs, **options)
    out, err = capsys.readouterr()
    losses = model.net_.history[:, ("train_loss", "valid_loss")]
    shown = sorted({*shown, n_epochs})
    assert out.splitlines() == [
        f"epoch {k} of {n_epochs}: train_loss {losses[k - 1][0]:.4f}, valid_loss "
        f"{losses[k - 1][1]:.4f}"
        for k in shown
    ]
    assert err == ""


class Widgetless:
    """IPython's kernel, as tqdm asks for it."""

    def __init__(self):
        self.config = {"IPKernelApp": {}}


def test_jupyter_without_widgets_gets_plain_lines_and_no_warning(whas500, capsys, monkeypatch):
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(sys.modules, "IPython.html.widgets", None)
    shell = types.ModuleType("IPython")
    shell.get_ipython = Widgetless
    monkeypatch.setitem(sys.modules, "IPython", shell)
    fitted(CoxNNRegressor, whas500, verbose=1, max_epochs=2)
    assert capsys.readouterr().out.startswith("epoch 1 of 2: train_loss ")


@both
@pytest.mark.parametrize("options", [{"batch_size": 50}, {"batch_size": None}, {"momentum": True}])
def test_the_penalty_has_a_column_of_its_own(kind, options, whas500, capsys):
    still = {"lr": 1e-12, "lr_schedule": "constant"}
    model = fitted(kind, whas500, verbose=2, max_epochs=1, **still | options)
    assert "train_penalty" in capsys.readouterr().out
    (epoch,) = model.net_.history
    plain = kind(**model.get_params() | {"alpha": 0.0, "verbose": 0})
    weights = SquaredWeights(model._trained)().detach()
    assert epoch["train_penalty"] == pytest.approx(0.5 * model.net_.l2 * float(weights), rel=1e-4)
    assert 0 < epoch["train_penalty"] < epoch["train_loss"]
    assert "train_penalty" not in plain.fit(*whas500).net_.history[0]


@both
def test_the_progress_bar_leaves_a_usable_model(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, verbose=1, max_epochs=2)
    np.testing.assert_array_equal(model.predict(X), fitted(kind, whas500, max_epochs=2).predict(X))


@both
def test_a_log_with_a_sink_of_its_own_is_written_though_nothing_is_printed(kind, whas500):
    lines = []
    fitted(kind, whas500, [], max_epochs=3, callbacks__print_log__sink=lines.append)
    assert len(lines) == 5  # with a head of two lines


@both
@pytest.mark.parametrize("verbose", [0, 2])
def test_a_program_may_replace_print(kind, verbose, whas500, monkeypatch):
    """Ray does: what it prints in workers comes through a `print` of its own."""
    lines = []
    monkeypatch.setattr(builtins, "print", lambda *args: lines.append(args))
    # The validation loss would have to fall by 1 in each epoch.
    options = {"early_stopping": True, "n_iter_no_change": 2, "tol": 1.0, "verbose": verbose}
    model = fitted(kind, whas500, [], max_epochs=9, **options)
    n_epochs = len(model.net_.history)
    assert n_epochs < 9
    # A head of two lines, and the words of early stopping.
    assert len(lines) >= n_epochs + 3 if verbose else not lines
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(whas500[0]), model.predict(whas500[0]))
