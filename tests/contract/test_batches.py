"""Which rows a batch holds: events are spread evenly, each row comes once, any generator draws."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTRegressor
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.nets import SurvivalNet, survival_target
from sksurvtorch.nets import epochs as epochs_module
from sksurvtorch.nets.epochs import EpochsAhead
from sksurvtorch.nets.loader import BatchLoader
from tests.contract.small_models import CountEvents, Mlp, both, fitted


def test_batches_without_events_are_skipped_with_one_warning():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = Surv.from_arrays(np.arange(60) % 20 == 0, rng.exponential(size=60))
    with pytest.warns(SkippedBatchWarning) as record:
        model = CoxNNRegressor(n_estimators=1, max_epochs=4, batch_size=6, random_state=0).fit(X, y)
    # 3 events in 10 batches, as many as can be in batches of their own.
    assert [str(warning.message) for warning in record] == [
        "Batches without an event were left out of the fit, 28 in all: the Cox partial likelihood "
        "is not defined for them. Use a larger `batch_size`."
    ]
    assert model.net_.history[:, "train_batch_count"] == [3, 3, 3, 3]
    assert np.isfinite(model.predict(X)).all()
    with pytest.warns(SkippedBatchWarning, match="7 in all"):
        model.partial_fit(X, y)


def test_weibull_uses_batches_without_events():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = Surv.from_arrays(np.arange(60) % 20 == 0, rng.exponential(size=60))
    model = WeibullAFTRegressor(n_estimators=1, max_epochs=2, batch_size=6, random_state=0).fit(
        X, y
    )
    assert model.net_.history[:, "train_batch_count"] == [10, 10]


@both
@pytest.mark.parametrize("batch_size", [30, 37, 100, 239, None])
def test_events_are_spread_evenly_over_the_batches(kind, batch_size, whas500):
    _, y = whas500
    model = fitted(kind, whas500, [("count", CountEvents())], batch_size=batch_size, max_epochs=3)
    seen = np.array(dict(model.net_.callbacks_)["count"].seen_)
    n_batches = len(seen) // 3
    events, rows = seen.reshape(3, n_batches, 2).transpose(2, 0, 1)
    assert (rows.sum(axis=1) == len(y)).all()
    assert (events.sum(axis=1) == y["event"].sum()).all()
    assert rows.max() <= (batch_size or len(y))
    assert np.ptp(rows) <= 1
    # A batch ends between two events: each end may take one more or less.
    assert np.ptp(events) <= 2


def test_each_epoch_has_an_order_of_its_own_and_every_row_once(whas500):
    X, y = whas500
    net = SurvivalNet(Mlp, batch_size=50).initialize()
    loader = BatchLoader(
        net.get_dataset(X, survival_target(y)), 50, shuffle=True, generator=np.random.default_rng(0)
    )
    first, second = ([batch.numpy() for batch, _ in loader] for _ in range(2))
    for epoch in (first, second):
        rows = np.concatenate(epoch)
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], X[np.lexsort(X.T)])
    assert not np.array_equal(np.sort(first[0], axis=0), np.sort(second[0], axis=0))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows_at_once", [1, 1000, 10**6])
def test_epochs_laid_out_at_once_are_those_drawn_one_by_one(
    whas500, rows_at_once, shuffle, monkeypatch
):
    X, y = whas500
    net = SurvivalNet(Mlp, batch_size=50).initialize()
    dataset = net.get_dataset(X, survival_target(y))

    def epochs(at_once):
        monkeypatch.setattr(epochs_module, "_ROWS_AT_ONCE", at_once)
        generator = np.random.default_rng(0)
        loader = BatchLoader(dataset, 50, shuffle=shuffle, generator=generator)
        for number in range(8):
            if number == 5:
                generator.random()  # someone else draws
            for X, target in loader:
                loss = CoxPHLoss()(X[:, 0], risk_sets=target.risk_sets)
                yield X.numpy(), loss.item(), generator.bit_generator.state

    for one, other in zip(epochs(rows_at_once), epochs(1), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], rtol=1e-6)
        assert one[2] == other[2]


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.PCG64])
def test_any_generator_may_draw_the_batches(bits, whas500):
    fits = [
        fitted(
            CoxNNRegressor,
            whas500,
            [],
            max_epochs=4,
            batch_size=50,
            iterator_train__generator=np.random.Generator(bits(0)),
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*(model.predict(whas500[0]) for model in fits))


def test_batches_of_many_rows_are_laid_out_a_few_at_a_time(whas500, monkeypatch):
    """With the risk sets that they have when all are laid out together."""
    net = SurvivalNet(Mlp, batch_size=50).initialize()
    X, y = (part[:240] for part in whas500)
    dataset = net.get_dataset(X, survival_target(y))
    sizes = []
    split = type(dataset.y).split

    def spy(target, index, of_batches):
        sizes.append(list(of_batches))
        return split(target, index, of_batches)

    monkeypatch.setattr(type(dataset.y), "split", spy)
    monkeypatch.setattr(epochs_module, "_ROWS_AT_ONCE", 1)
    losses = []
    for at_once in (10**6, 100):
        monkeypatch.setattr(epochs_module, "MOST_ROWS_AT_ONCE", at_once)
        loader = BatchLoader(dataset, 50, shuffle=True, generator=np.random.default_rng(0))
        each = [CoxPHLoss()(X[:, 0], risk_sets=target.risk_sets) for X, target in loader]
        losses.append([loss.item() for loss in each])
    assert sizes == [[48] * 5, [48] * 2, [48] * 2, [48]]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_no_more_epochs_are_laid_out_than_were_needed_before(whas500, monkeypatch):
    drawn = []
    draw = EpochsAhead._draw

    def spy(ahead, generator, n_batches, n_epochs, **options):
        drawn.append(n_epochs)
        return draw(ahead, generator, n_batches, n_epochs, **options)

    monkeypatch.setattr(EpochsAhead, "_draw", spy)
    model = fitted(CoxNNRegressor, whas500, [], max_epochs=9, batch_size=50)
    assert drawn == [1, 1, 2, 4, 8]
    drawn.clear()
    model.partial_fit(*whas500)
    assert drawn == [1]
