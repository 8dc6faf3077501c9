"""The fast ways to sort, sum and split against the obvious ones."""

import copy
import dataclasses
import pickle

import pytest
import torch

from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import RiskSets, _arithmetic, _risk_set, breslow_baseline
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from sksurvtorch.functional._arithmetic import Linear, Log
from sksurvtorch.functional._order import sort
from sksurvtorch.functional._sums import IntervalSums, RunningSums
from tests.cohorts import assert_close, random_cohort, value_and_gradient

EITHER_ARITHMETIC = pytest.mark.parametrize(
    ("arithmetic", "into", "back"),
    [(Linear, torch.clone, torch.clone), (Log, torch.log, torch.exp)],
)
GENERATOR = torch.Generator().manual_seed(0)
RANGES = [(0, 2), (-5, 2**15), (0, 2**31), (-(2**31), 2**31), (-(2**40), 2**40), (0, 2**62)]


@pytest.mark.parametrize("bounds", RANGES, ids=str)
@pytest.mark.parametrize("n", [1, 100, 5_000, 40_000])
def test_every_route_sorts_and_leaves_equal_numbers_in_order(n, bounds):
    x = torch.randint(*bounds, (n,), generator=GENERATOR)
    x = torch.cat([x, x[: n // 2]])
    values, order = sort(x)
    expected = x.sort(stable=True)
    assert torch.equal(values, expected.values)
    assert torch.equal(order, expected.indices)


def test_numbers_too_far_apart_to_subtract_are_sorted():
    x = torch.randint(-(2**62), 2**62, (3_000,), generator=GENERATOR) * 2
    assert torch.equal(sort(x)[0], x.sort().values)


@EITHER_ARITHMETIC
@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("lengths", [None, [1], [3, 0, 1, 8, 7, 4, 0, 15, 16, 17, 1]], ids=str)
def test_running_sums_are_those_of_each_segment_alone(lengths, from_end, arithmetic, into, back):
    sizes = [9] if lengths is None else lengths
    x = torch.rand(sum(sizes), dtype=torch.float64, generator=GENERATOR)
    sums = RunningSums.of(None if lengths is None else torch.tensor(lengths), from_end=from_end)
    slots = back(sums(arithmetic, into(x)))
    for number, segment in enumerate(x.split(sizes)):
        k = torch.arange(len(segment) + 1)
        own = slots[sums.slots(torch.full_like(k, number), k)]
        summed = [segment[len(segment) - i :] if from_end else segment[:i] for i in k.tolist()]
        assert_close(own, torch.stack([part.sum() for part in summed]))
    through = torch.cat(
        [
            segment.flip(0).cumsum(0).flip(0) if from_end else segment.cumsum(0)
            for segment in x.split(sizes)
        ]
    )
    assert_close(back(sums.up_to_each(arithmetic, into(x))), through)


@EITHER_ARITHMETIC
@pytest.mark.parametrize("n_points", [1, 7, 64, 100])
def test_interval_sums_are_those_of_a_matrix(n_points, arithmetic, into, back):
    ends = torch.randint(n_points + 1, (2, 200), generator=GENERATOR).sort(0).values
    point = torch.arange(n_points)
    covers = ((ends[0, :, None] <= point) & (point < ends[1, :, None])).double()
    rows, points = (
        torch.rand(size, dtype=torch.float64, generator=GENERATOR) for size in (200, n_points)
    )
    sums = IntervalSums.of(*ends, n_points)
    assert_close(back(sums.at_points(arithmetic, into(rows))), rows @ covers)
    assert_close(back(sums.over_rows(arithmetic, into(points))), covers @ points)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize(
    "with_", [(), ("weight",), ("stratum",), ("entry", "weight")], ids="+".join
)
@pytest.mark.parametrize("rows_at_once", [50, 1_000])
@pytest.mark.usefixtures("route")
def test_batches_split_at_once_are_those_taken_one_by_one(
    monkeypatch, rows_at_once, with_, in_order, ties
):
    monkeypatch.setattr(_risk_set, "_ROWS_AT_ONCE", rows_at_once)
    cohort = random_cohort(8, n=120, with_=with_)
    risk_sets = RiskSets(**cohort.target, ties=ties)
    if in_order:
        cohort, risk_sets = cohort.rows(risk_sets.order), risk_sets.take(risk_sets.order)
    index = torch.randperm(len(cohort), generator=GENERATOR)
    sizes = [40, 30, 49, 1]
    event = torch.nonzero(risk_sets.columns["event"]).flatten()
    index[index == event[0]], index[-1] = index[-1].clone(), event[0]
    batches = [rows.sort().values if in_order else rows for rows in index.split(sizes)]
    for rows, batch in zip(batches, risk_sets.split(torch.cat(batches), sizes), strict=True):
        part, taken = cohort.rows(rows), risk_sets.take(rows)
        assert batch.order is None or not in_order
        assert (len(batch), batch.n_events) == (len(taken), taken.n_events)
        assert batch.columns.keys() == taken.columns.keys()
        for name, column in taken.columns.items():
            assert torch.equal(batch.columns[name], column)
        for reduction in ("mean", "sum", "none"):
            cotangent = torch.linspace(-1, 2, len(rows)).double() if reduction == "none" else None
            (one, other) = (
                value_and_gradient(
                    cox,
                    part.log_hazard_ratio,
                    risk_sets=r,
                    reduction=reduction,
                    cotangent=cotangent,
                )
                for r in (batch, taken)
            )
            assert_close(one[0], other[0])
            assert_close(one[1], other[1])


def test_a_batch_without_an_event_is_refused_with_its_size():
    risk_sets = RiskSets(torch.tensor([True, True, False, False, False]), torch.arange(5.0))
    with pytest.raises(NoEventError, match="got 3 rows that are censored"):
        risk_sets.split(torch.arange(5), [2, 3])


@pytest.mark.parametrize("sizes", [[0, 5], [5, 0], [2, 0, 3]], ids=str)
def test_a_batch_without_rows_has_no_event(sizes):
    risk_sets = RiskSets(torch.ones(5, dtype=torch.bool), torch.arange(5.0))
    with pytest.raises(NoEventError, match="got 0 rows that are censored"):
        risk_sets.split(torch.arange(5), sizes)


def tensors_in(held):
    """All tensors in a tuple of tuples."""
    for part in held:
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from tensors_in(part)


def test_float64_moves_as_float32_to_a_device_without_it(monkeypatch, route):
    """No such device is at hand: torch's "meta" plays one."""
    monkeypatch.setattr(_arithmetic, "widest", lambda device: torch.float32)
    cohort = random_cohort(8, with_=("weight", "entry", "stratum"))
    moved = RiskSets(**cohort.target).to("meta")
    tensors = list(tensors_in((moved.rows, moved.layout)))
    assert {x.device.type for x in tensors} == {"meta"}
    assert torch.float64 not in {x.dtype for x in tensors}


@pytest.mark.parametrize("with_", [(), ("weight",), ("entry", "stratum", "weight")], ids="+".join)
def test_risk_sets_do_not_change_with_the_arrays_they_were_made_of(with_):
    """Dtypes are those in which columns are kept: none is copied by a conversion."""
    cohort = random_cohort(8, n=60, with_=with_)
    columns = {name: x for name, x in cohort.target.items() if x is not None}
    given = {name: x.clone() for name, x in columns.items()}
    risk_sets, expected = RiskSets(**given), RiskSets(**columns)
    for x in given.values():
        x.copy_(x.flip(0))
    index, sizes = torch.arange(60), [30, 30]
    for ours, theirs in zip(
        [risk_sets, risk_sets.take(index.flip(0)), *risk_sets.split(index, sizes)],
        [expected, expected.take(index.flip(0)), *expected.split(index, sizes)],
        strict=True,
    ):
        eta = cohort.log_hazard_ratio[: len(ours)]
        assert ours.columns.keys() == columns.keys()
        for name, column in theirs.columns.items():
            assert torch.equal(ours.columns[name], column)
        for reduction in ("mean", "none"):
            options = {"reduction": reduction}
            assert torch.equal(
                cox(eta, risk_sets=ours, **options), cox(eta, risk_sets=theirs, **options)
            )
        for got, wanted in zip(
            breslow_baseline(eta, risk_sets=ours),
            breslow_baseline(eta, risk_sets=theirs),
            strict=True,
        ):
            assert got is wanted is None or torch.equal(got, wanted)


def test_risk_sets_are_frozen():
    risk_sets = RiskSets(torch.tensor([True, False]), torch.tensor([1.0, 2.0]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        risk_sets.ties = "breslow"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
@pytest.mark.usefixtures("route")
def test_copied_risk_sets_give_what_the_original_gives(copied):
    cohort = random_cohort(8, with_=("entry", "weight"))
    risk_sets = RiskSets(**cohort.target, ties="breslow")
    other = copied(risk_sets)
    assert repr(other) == repr(risk_sets)
    eta = cohort.log_hazard_ratio
    assert torch.equal(cox(eta, risk_sets=other), cox(eta, risk_sets=risk_sets))


@pytest.mark.parametrize(
    ("with_", "expected"), [("weight", True), ("entry", False), ("stratum", False)]
)
def test_batches_are_laid_out_in_one_pass_without_late_entry_and_strata(with_, expected):
    risk_sets = RiskSets(**random_cohort(8, with_=(with_,)).target)
    assert risk_sets.splits_on("cpu") is expected
    assert not risk_sets.splits_on("mps")  # has no float64


@pytest.mark.parametrize("with_", [(), ("weight",), ("entry", "stratum")], ids="+".join)
def test_rows_taken_in_their_order_are_known_to_lie_in_it(with_):
    risk_sets = RiskSets(**random_cohort(0, n=40, n_times=9, with_=with_).target)
    taken = risk_sets.take(risk_sets.order)
    assert vars(taken)["order"] is None
    assert ("rows" in vars(taken)) == ("entry" in with_)
    assert (taken.rows.key.diff() >= 0).all()
    assert risk_sets.take(risk_sets.order.flip(0)).order is not None
