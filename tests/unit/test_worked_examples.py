"""The numbers of the examples at the heads of `_denominators` and `_sums`, against the code."""

import torch

from sksurvtorch.functional import RiskSets, _denominators, _layout, _sums
from sksurvtorch.functional._arithmetic import Linear
from sksurvtorch.functional._denominators import Denominators
from sksurvtorch.functional._sums import RunningSums

HAZARD_RATIO = 10.0 ** torch.arange(6, dtype=torch.float64)
EVENT = torch.tensor([False, True, False, True, True, True])
TIME = torch.tensor([9, 7, 5, 5, 5, 2])


def table(module, number):
    """The columns of a table in the docstring of a module, each a list of words."""
    blocks = [[]]
    for line in module.__doc__.splitlines():
        if line.startswith("==="):
            blocks.append([])
        else:
            blocks[-1].append(line.split())
    # A table has three rules: its rows stand before the third one.
    return [list(column) for column in zip(*blocks[3 * number + 2], strict=True)]


def numbers(column):
    return [float(word) for word in column]


def test_the_tables_of_the_denominators():
    row, time, event, group, hazard_ratio, in_s, in_n = table(_denominators, 0)
    assert numbers(row) == list(range(6))
    assert numbers(time) == TIME.tolist()
    assert [word == "yes" for word in event] == EVENT.tolist()
    assert numbers(hazard_ratio) == HAZARD_RATIO.tolist()
    risk_sets = RiskSets(EVENT, TIME)
    assert risk_sets.order is None
    groups, _ = risk_sets.groups()
    assert numbers(word for word in group if word != "none") == groups.of_event.tolist()
    made = Denominators.of(groups, None, "efron")
    assert numbers(in_s) == made.n_denominators.tolist()
    assert numbers(in_n) == made.before.slot_of_row.tolist()

    number, row, group, rows_in_s, rows_in_n, s, n, fraction, denominator = table(_denominators, 1)
    assert numbers(number) == list(range(4))
    assert numbers(row) == groups.row.tolist()
    assert numbers(group) == groups.of_event.tolist()
    assert numbers(rows_in_s) == made.n_rows.tolist()
    assert numbers(rows_in_n) == made.before.slot.tolist()
    assert numbers(fraction) == made.before.fraction.tolist()
    plan = risk_sets.layout.plan
    sums = plan.row_sums(Linear, HAZARD_RATIO.clone())
    assert sums[:4].tolist() == [0, 1, 11, 111]
    assert numbers(s) == sums[made.n_rows].tolist()
    assert numbers(n) == sums[made.before.slot].tolist()
    assert numbers(denominator) == plan.denominators(Linear, HAZARD_RATIO.clone()).tolist()
    of_rows = plan.of_rows(Linear, torch.tensor([1.0, 10, 100, 1000], dtype=torch.float64))
    assert of_rows[3] == 1060


def test_the_denominators_with_breslows_ties():
    layout = RiskSets(EVENT, TIME, ties="breslow").layout
    denominators = layout.plan.denominators(Linear, HAZARD_RATIO.clone())
    assert denominators.tolist() == [11, 11111, 111111]
    assert layout.denominator_weight.tolist() == [1, 2, 1]


def test_the_table_of_running_sums():
    position, segment, value, *slots_and_sums = table(_sums, 0)
    assert numbers(position) == list(range(6))
    assert numbers(segment) == [0, 0, 0, 0, 1, 1]
    assert numbers(value) == HAZARD_RATIO.tolist()
    for from_end in (False, True):
        slot, up_to_each = slots_and_sums[2 * from_end : 2 * from_end + 2]
        sums = RunningSums.of(torch.tensor([4, 2]), from_end=from_end)
        assert numbers(slot) == sums.slot.tolist()
        assert numbers(up_to_each) == sums.up_to_each(Linear, HAZARD_RATIO).tolist()
        assert sums.head.tolist() == [4, 0]
        by_slot = sums(Linear, HAZARD_RATIO)
        assert len(by_slot) == 12
        assert by_slot[[4, 0]].tolist() == [0, 0]


def test_the_table_of_an_interval(monkeypatch):
    monkeypatch.setattr(_layout, "_MATRIX_ENTRIES", 0)
    plan = RiskSets(EVENT, TIME, entry=torch.tensor([0, 3, 0, 0, 0, 0])).layout.plan
    point, binary, time, sum_, row_1, half, slot = table(_sums, 1)
    assert [int(word, 2) for word in binary] == [int(word) for word in point] == list(range(6))
    assert sum_ == ["N", "S"] * 3
    assert numbers(time) == TIME[EVENT.nonzero().squeeze(1)][[0, 0, 1, 1, 3, 3]].tolist()
    late = plan.late
    assert late.row.tolist() == [1]
    assert late.point.tolist() == [1, 3, 3, 5]
    assert late.point_before.tolist() == [0, 2, 2, 4]
    (level,) = late.sums.levels
    assert half == ["left"] * level.half + ["right"] * level.half + ["none"] * 2
    covers = late.sums.at_points(Linear, HAZARD_RATIO[late.row]).tolist()
    assert covers == [10 * (word == "yes") for word in row_1] == [0, 10, 10, 10, 0, 0]
    assert slot == ["1", "0", "0", "1", "none", "none"]  # counted from the boundary at point 2
    assert (slot[1], slot[3]) == (str(level.left.item()), str(level.right.item())) == ("0", "1")
    others = plan.row_sums(Linear, HAZARD_RATIO.index_fill(0, late.row, 0.0))
    assert others.tolist() == [0, 1, 1, 101, 1101, 11101, 111101]
    denominators = plan.denominators(Linear, HAZARD_RATIO.clone())
    assert denominators.tolist() == [11, 11111, 5611, 111101]
