"""Worked examples of Therneau and Grambsch (2000), appendix E, as tests/book1.R to book6.R and
tests/doweight.R in github.com/therneau/survival have them."""

import numpy as np
import torch


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64).copy())


def target(time, event, **others):
    columns = {"time": tensor(time), "event": tensor(event).bool()}
    for name, values in others.items():
        columns[name] = tensor(values).long() if name == "stratum" else tensor(values)
    return columns


TEST1 = target([9, 1, 1, 6, 6, 8], [1, 1, 0, 1, 1, 0])
TEST1_X = tensor([0, 1, 1, 1, 0, 0])
TEST2 = target(
    [2, 3, 6, 7, 8, 9, 9, 9, 14, 17],
    [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    entry=[1, 2, 5, 2, 1, 7, 3, 4, 8, 8],
)
TEST2_X = tensor([1, 0, 0, 1, 0, 1, 1, 1, 0, 0])
TEST2B = target(  # three copies, each moved by the number of its stratum
    torch.cat([TEST2["time"] + k for k in (1, 2, 3)]),
    TEST2["event"].repeat(3),
    entry=torch.cat([TEST2["entry"] + k for k in (1, 2, 3)]),
    stratum=torch.arange(1, 4).repeat_interleave(10),
)
TESTW1 = target(
    [1, 1, 2, 2, 2, 2, 3, 4, 5], [1, 0, 1, 1, 1, 0, 0, 1, 0], weight=[1, 2, 3, 4, 3, 2, 1, 2, 1]
)
TESTW1_X = tensor([2, 0, 1, 1, 0, 1, 0, 1, 0])
TESTW3 = target(  # TESTW1 as counting-process rows, on another time scale
    [5, 10, 10, 10, 15, 20, 20, 14, 20, 20, 30, 23, 40, 50],
    [0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0],
    entry=[0, 5, 0, 0, 10, 15, 0, 0, 14, 0, 0, 0, 23, 0],
    weight=[1, 1, 2, 3, 3, 3, 4, 3, 3, 2, 1, 2, 2, 1],
)
TESTW3_X = tensor([2, 2, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1, 0])
TESTW3_ID = torch.tensor([1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, 8, 9]) - 1
