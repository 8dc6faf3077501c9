"""The loss takes O(n) memory: the peak of a fresh process before and after one call."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = """
import resource, torch
from sksurvtorch.functional import cox_neg_partial_log_likelihood as loss

torch.manual_seed(0)
n, case = {n}, "{case}"
event = torch.rand(n) < 0.5
time = torch.rand(n, dtype=torch.float64) + 1
if case == "spike":  # a third of the events on one day
    time[event & (torch.rand(n) < 1 / 3)] = 1.5
options = {{}}
if case == "entry":
    options = {{"entry": time * torch.rand(n, dtype=torch.float64)}}
if case == "strata":
    options = {{"stratum": torch.randint(0, n // 10, (n,)), "weight": torch.rand(n)}}
eta = torch.randn(n, requires_grad=True)
loss(eta[:100], event[:100], time[:100]).backward()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
loss(eta, event, time, **options).backward()
print(peak() - before)
"""


def extra_mebibytes(n: int, case: str) -> float:
    """Return by how much one call with its gradient raises the peak."""
    code = CALL.format(n=n, case=case)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


@pytest.mark.parametrize("case", ["plain", "spike", "entry", "strata"])
def test_a_million_rows_take_less_than_a_gibibyte(case):
    assert extra_mebibytes(1_000_000, case) < 1024


def test_a_spike_of_ties_takes_no_more_memory_than_none():
    """Padding distinct times by the largest tie would take gigabytes here."""
    assert extra_mebibytes(100_000, "spike") < extra_mebibytes(100_000, "plain") + 50
