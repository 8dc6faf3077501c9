"""Baselines of all causes and cumulative incidences: twins, Aalen-Johansen, the Cox model."""

import math
import warnings

import lifelines
import numpy as np
import pytest
import torch
from scipy.linalg import expm
from sksurv.datasets import load_bmt
from sksurv.nonparametric import cumulative_incidence_competing_risks

from sksurvtorch.functional import (
    CompetingRiskSets,
    breslow_baseline,
    competing_risks_baseline,
    cumulative_incidence,
)
from tests import competing_twins as twins
from tests.cohorts import assert_close
from tests.competing_twins import random_risks

either_hazard = pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])
COLUMNS = [(), ("entry",), ("stratum",), ("weight",), ("entry", "stratum", "weight")]
every_column = pytest.mark.parametrize("with_", COLUMNS, ids=lambda with_: "+".join(with_) or "-")


def steps(cohort, hazard):
    """Steps of the cumulative hazards, as {(stratum, time): [step of each cause]}."""
    rows, found = twins.Rows(**cohort.target), {}
    eta = cohort.log_hazard_ratio
    for row in rows.all:
        cause = rows.status[row]
        if cause and rows.weight[row] > 0:
            weights = rows.at_risk(row, cause, hazard)
            risk = math.fsum(w * math.exp(eta[j, cause - 1]) for j, w in weights.items())
            place = found.setdefault((rows.stratum[row], rows.time[row]), [0.0] * cohort.n_causes)
            place[cause - 1] += rows.weight[row] / risk
    return dict(sorted(found.items()))


@either_hazard
@every_column
def test_the_baseline_is_the_twin(with_, hazard):
    for seed in range(3):
        cohort = random_risks(seed, with_=with_, shares=(0.2, 0.2, 0.3, 0.3), n_causes=3)
        ours = competing_risks_baseline(cohort.log_hazard_ratio, **cohort.target, hazard=hazard)
        expected = steps(cohort, hazard)
        codes, times = zip(*expected, strict=True)
        assert ours.times.tolist() == list(times)
        assert (ours.stratum is None) == ("stratum" not in with_)
        assert ours.stratum is None or ours.stratum.tolist() == list(codes)
        assert ours.hazard == hazard
        table = torch.tensor(list(expected.values()), dtype=torch.float64).T
        assert_close(ours.log_hazard.exp(), table)
        sums = [table[:, [c == own for c in codes]].cumsum(1) for own in dict.fromkeys(codes)]
        assert_close(ours.log_cumulative_hazard.exp(), torch.cat(sums, 1))


def products(table, eta):
    """State probabilities after each step, by exponentials of the matrices of the steps."""
    n_causes = len(eta)
    state, found = np.eye(n_causes + 1)[0], []
    for step in table:
        matrix = np.zeros((n_causes + 1, n_causes + 1))
        matrix[0, 1:] = np.array(step) * np.exp(eta)
        matrix[0, 0] = -matrix[0].sum()
        state = state @ expm(matrix)
        found.append(state)
    return np.array(found)


@every_column
def test_incidences_are_exponentials_of_the_matrix_of_the_steps(with_):
    cohort = random_risks(1, n=60, with_=with_, n_times=20, shares=(0.2, 0.2, 0.3, 0.3), n_causes=3)
    eta = cohort.log_hazard_ratio
    baseline = competing_risks_baseline(eta, **cohort.target)
    times = torch.tensor([0.0, 0.5, 7.0, 3.5, 20.0, 100.0]).double()
    curves = cumulative_incidence(eta, baseline, times, stratum=cohort.stratum)
    expected = steps(cohort, "cause-specific")
    for row in range(12):
        code = 0 if cohort.stratum is None else cohort.stratum[row].item()
        own = {t: step for (c, t), step in expected.items() if c == code}
        states = np.vstack([np.eye(4)[:1], products(own.values(), eta[row].numpy())])
        at = np.searchsorted(sorted(own), times.numpy(), side="right")
        assert_close(curves.incidence[row], torch.from_numpy(states[at, 1:].T))
        assert_close(curves.survival[row], torch.from_numpy(states[at, 0]))


def test_subdistribution_incidences_are_those_of_separate_models():
    cohort = random_risks(1, n=60, n_times=20, with_=("stratum",))
    eta = cohort.log_hazard_ratio
    baseline = competing_risks_baseline(eta, **cohort.target, hazard="subdistribution")
    times = torch.tensor([0.0, 7.0, 3.5, 100.0]).double()
    curves = cumulative_incidence(eta, baseline, times, stratum=cohort.stratum)
    assert curves.survival is None
    expected = steps(cohort, "subdistribution")
    for row in range(60):
        code = cohort.stratum[row].item()
        for place, t in enumerate(times.tolist()):
            sums = [[s for (c, u), s in expected.items() if c == code and u <= t]]
            total = np.array(sums[0]).reshape(-1, 2).sum(0)
            found = 1 - np.exp(-total * np.exp(eta[row].numpy()))
            assert_close(curves.incidence[row, :, place], torch.from_numpy(found))


@either_hazard
@pytest.mark.parametrize("n", [100, 1_000, 10_000])
def test_with_zeros_they_are_aalen_johansen_up_to_one_nth(n, hazard):
    rng = np.random.default_rng(n)
    time = np.round(rng.exponential(1.0, n), 4) + 0.0001
    status = rng.choice([0, 1, 2], n, p=[0.3, 0.4, 0.3])
    zeros, columns = torch.zeros(n, 2), (torch.from_numpy(status), torch.from_numpy(time))
    baseline = competing_risks_baseline(zeros, *columns, hazard=hazard)
    at, expected = cumulative_incidence_competing_risks(status, time)
    early = at <= 2.5  # later few are at risk
    found = cumulative_incidence(zeros[:1], baseline, torch.from_numpy(at[early])).incidence[0]
    error = np.abs(found.numpy() - expected[1:, early]).max()
    assert 1e-2 / n < error < 2 / n


def test_subdistribution_steps_are_aalen_johansen_exactly():
    """1 less the product of 1 - dH is the curve: what R's test of `finegray` checks."""
    rng = np.random.default_rng(3)
    for n_times in (8, 60):
        time = rng.integers(1, n_times, 300).astype(float)
        status = rng.choice([0, 1, 2], 300, p=[0.3, 0.3, 0.4])
        columns = torch.from_numpy(status), torch.from_numpy(time)
        baseline = competing_risks_baseline(torch.zeros(300, 2), *columns, hazard="subdistribution")
        found = 1 - (1 - baseline.log_hazard.exp()).cumprod(1)
        at, expected = cumulative_incidence_competing_risks(status, time)
        assert_close(found, torch.from_numpy(expected[1:, np.isin(at, baseline.times)]))


def test_bmt_by_scikit_survival_and_lifelines():
    _, y = load_bmt()
    status, time = torch.from_numpy(y["status"]), torch.from_numpy(y["ftime"])
    baseline = competing_risks_baseline(torch.zeros(35, 2), status, time)
    at, expected = cumulative_incidence_competing_risks(y["status"], y["ftime"])
    curves = cumulative_incidence(torch.zeros(1, 2), baseline, torch.from_numpy(at))
    assert np.abs(curves.incidence[0].numpy() - expected[1:]).max() < 0.02
    for cause in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tied times are jittered
            fitter = lifelines.AalenJohansenFitter(seed=0, calculate_variance=False)
            fitter.fit(y["ftime"], y["status"], event_of_interest=cause)
        theirs = fitter.cumulative_density_.iloc[-1].item()
        assert curves.incidence[0, cause - 1, -1].item() == pytest.approx(theirs, abs=0.02)


@every_column
def test_one_cause_is_the_cox_model(with_):
    cohort = random_risks(4, n=50, with_=with_, n_causes=1, shares=(0.4, 0.6), n_times=9)
    eta = cohort.log_hazard_ratio
    columns = {name: x for name, x in cohort.target.items() if name != "status"}
    cox = breslow_baseline(eta, cohort.status > 0, **columns)
    for hazard in ("cause-specific", "subdistribution"):
        ours = competing_risks_baseline(eta, **cohort.target, hazard=hazard)
        assert torch.equal(ours.times, cox.times)
        assert_close(ours.log_cumulative_hazard[0], cox.log_cumulative_hazard)
        code = None if cohort.stratum is None else cohort.stratum[:1]
        curves = cumulative_incidence(eta[:1], ours, cox.times[:4], stratum=code)
        if code is None:
            hazards = (eta[0] + cox.log_cumulative_hazard[:4]).exp()
            assert_close(curves.incidence[0, 0], -torch.expm1(-hazards))


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("shift", [0.0, 1000.0, -1000.0])
def test_curves_rise_and_add_up_to_one_for_any_spread(shift, scale):
    cohort = random_risks(6, n=80, n_times=30, n_causes=3, shares=(0.1, 0.3, 0.3, 0.3))
    eta = scale * cohort.log_hazard_ratio / cohort.log_hazard_ratio.abs().max() + shift
    baseline = competing_risks_baseline(eta, **cohort.target)
    times = torch.linspace(0, 31, 63).double()
    curves = cumulative_incidence(eta, baseline, times)
    assert_close(curves.incidence.sum(1) + curves.survival, torch.ones(80, 63).double())
    for values in (curves.incidence, -curves.survival, baseline.log_cumulative_hazard):
        assert (values[..., 1:] >= values[..., :-1]).all()
    assert curves.incidence.min() >= 0
    assert curves.incidence.max() <= 1
    moved = competing_risks_baseline(eta - shift, **cohort.target)
    there = cumulative_incidence(eta - shift, moved, times)
    assert_close(curves.incidence, there.incidence, 1e-12 * max(1.0, abs(shift)))


def test_a_hazard_alone_beyond_all_others_ends_everything_at_once():
    cohort = random_risks(6, n=20, n_times=5)
    baseline = competing_risks_baseline(cohort.log_hazard_ratio, **cohort.target)
    eta = torch.tensor([[800.0, 0.0], [0.0, 800.0], [-800.0, -800.0], [800.0, 800.0]]).double()
    curves = cumulative_incidence(eta, baseline, torch.tensor([6.0]).double())
    found = curves.incidence[..., 0]
    assert_close(found.sum(1), torch.tensor([1.0, 1.0, 0.0, 1.0]).double())
    assert found[2].max() == 0


def test_risk_sets_serve_for_baselines():
    for hazard in ("cause-specific", "subdistribution"):
        cohort = random_risks(8, with_=("weight",))
        sets = CompetingRiskSets(**cohort.target, hazard=hazard)
        one = competing_risks_baseline(cohort.log_hazard_ratio, risk_sets=sets)
        other = competing_risks_baseline(cohort.log_hazard_ratio, **cohort.target, hazard=hazard)
        assert one.hazard == hazard
        assert torch.equal(one.log_hazard, other.log_hazard)


def test_unknown_strata_and_a_baseline_without_are_told_apart():
    cohort = random_risks(1, n=60, with_=("stratum",))
    eta = cohort.log_hazard_ratio
    baseline = competing_risks_baseline(eta, **cohort.target)
    times = torch.tensor([3.0]).double()
    curves = cumulative_incidence(eta[:1], baseline, times, stratum=torch.tensor([55]))
    assert curves.incidence.abs().max() == 0
    assert curves.survival.item() == 1
    with pytest.raises(ValueError, match=r"^`stratum` must be given, got none\.$"):
        cumulative_incidence(eta, baseline, times)
    plain = competing_risks_baseline(eta, cohort.status, cohort.time)
    with pytest.raises(ValueError, match=r"^`stratum` must be left out, as the baseline has none,"):
        cumulative_incidence(eta, plain, times, stratum=cohort.stratum)
    with pytest.raises(ValueError, match=r"^`log_hazard_ratio` must have 2 columns, one for each"):
        cumulative_incidence(eta[:, :1], plain, times)


@either_hazard
def test_a_cause_without_events_has_no_incidence(hazard):
    cohort = random_risks(2, n=40, n_times=9)
    eta = torch.cat([cohort.log_hazard_ratio, torch.ones(40, 1).double()], 1)
    baseline = competing_risks_baseline(eta, **cohort.target, hazard=hazard)
    assert (baseline.log_hazard[2] == -math.inf).all()
    assert (baseline.log_cumulative_hazard[2] == -math.inf).all()
    times = torch.tensor([0.0, 4.0, 9.0]).double()
    curves = cumulative_incidence(eta, baseline, times)
    assert (curves.incidence[:, 2] == 0).all()
    two = competing_risks_baseline(eta[:, :2], **cohort.target, hazard=hazard)
    assert torch.equal(two.log_hazard, baseline.log_hazard[:2])
    there = cumulative_incidence(eta[:, :2], two, times)
    assert_close(curves.incidence[:, :2], there.incidence)
