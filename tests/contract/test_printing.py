"""What a training prints, and where to."""

from __future__ import annotations

import builtins
import pickle
import warnings

import numpy as np
import pytest

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
