"""Breslow's baseline hazard by bins equals the brute-force twin, and that of risk sets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from sksurvtorch.functional import RiskSets, breslow, breslow_baseline
from tests import twins
from tests.cohorts import assert_close, cohorts, random_cohort


@pytest.mark.parametrize("with_", [(), ("stratum",), ("weight",), ("stratum", "weight")])
@pytest.mark.parametrize("spread", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("piece", [7, 2**20])
def test_the_baseline_by_bins_is_the_twin(with_, spread, piece, monkeypatch):
    monkeypatch.setattr(breslow, "_PIECE", piece)
    for seed in range(3):
        cohort = random_cohort(seed, n=60, with_=with_, spread=spread)
        eta = cohort.log_hazard_ratio
        if spread == 300:
            eta = eta.clamp(-1000, 1000)
            eta[:2] = torch.tensor([-1000.0, 1000.0])
        ours = breslow_baseline(eta, **cohort.target)
        codes, times, values = zip(*twins.breslow_baseline(eta, **cohort.target), strict=True)
        assert ours.times.tolist() == list(times)
        assert ours.stratum is None or ours.stratum.tolist() == list(codes)
        assert_close(ours.log_cumulative_hazard, torch.tensor(values, dtype=torch.float64))


@given(cohort=cohorts(entry=False, spread=1000.0))
def test_the_baseline_by_bins_is_that_of_risk_sets(cohort):
    eta = cohort.log_hazard_ratio
    ours = breslow_baseline(eta, **cohort.target)
    sorted_ = breslow_baseline(eta, risk_sets=RiskSets(**cohort.target))
    assert torch.equal(ours.times, sorted_.times)
    assert (ours.stratum is None) == (sorted_.stratum is None)
    assert ours.stratum is None or torch.equal(ours.stratum, sorted_.stratum)
    assert_close(ours.log_cumulative_hazard, sorted_.log_cumulative_hazard)
