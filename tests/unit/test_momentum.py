"""Momentum by hand: what a step does, how the average moves and what the bank holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.functional import cox_neg_partial_log_likelihood
from sksurvtorch.losses import CoxPHLoss, Momentum, MomentumLoss, MomentumNetwork, WeibullAFTLoss
from tests.cohorts import assert_close

INPUTS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])
EVENT = torch.tensor([True, False, True])
TIME = torch.tensor([2.0, 3.0, 1.0])
COLUMNS = {"entry": TIME - 1, "stratum": torch.tensor([0, 0, 1]), "weight": 2 * TIME}
INDEX = torch.tensor([4, 5, 6])
LARGEST = 2**63 - 1


class Spy:
    """A loss that keeps what it was given."""

    def __call__(self, output, **columns):
        self.output, self.columns = output.reshape(-1).tolist(), columns
        return output.sum()


def push(criterion, numbers, index=None):
    """Give a batch with these outputs to a loss with a spy; return what was in the bank."""
    output = torch.tensor(numbers, dtype=torch.float64)
    event, time = torch.ones(len(numbers), dtype=torch.bool), torch.arange(len(numbers))
    criterion((output, output), event, time, index=None if index is None else torch.tensor(index))
    return sorted(set(criterion.loss.output) - set(numbers))


def single_weight(online, **options):
    """Momentum of a network that multiplies with `online`, with a spy for a loss."""
    network = nn.Linear(1, 1, bias=False).double().requires_grad_(False)
    network.weight.fill_(online)
    return Momentum(network, Spy(), **{"bank_size": 10} | options)


def step(momentum, online):
    """Set the online weight and feed a one; return what the loss was given, and the average."""
    momentum.online.weight.fill_(online)
    momentum(torch.ones(1, 1).double(), torch.tensor([True]), torch.tensor([1.0]))
    return momentum.criterion.loss.output, momentum.target.weight.item()


def small(*layers, loss=None, bank_size=8, **options):
    """Momentum of a small network, of other weights on each call."""
    network = nn.Sequential(nn.Linear(2, 4), *layers, nn.Tanh(), nn.Linear(4, 1))
    return Momentum(network, loss or CoxPHLoss(), bank_size=bank_size, **options)


def test_a_step_is_loss_then_average_then_bank():
    momentum = single_weight(1.0, rate=0.5, warmup=False)
    assert step(momentum, 3.0) == ([3.0], 2.0)
    assert step(momentum, 5.0) == ([2.0, 5.0], 3.5)
    assert step(momentum, 5.5) == ([2.0, 3.5, 5.5], 4.5)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1 / 10, 2 / 11, 3 / 12, 4 / 13]),
        ({"rate": 0.2}, [1 / 10, 2 / 11, 0.2, 0.2]),
        ({"warmup": False}, [0.999, 0.999]),
        ({"rate": 0.75, "warmup": False}, [0.75, 0.75, 0.75]),
        ({"rate": 0.0}, [0.0, 0.0, 0.0]),
    ],
    ids=str,
)
def test_the_average_keeps_a_share_of_itself(options, kept):
    momentum, average = single_weight(0.0, **options), 0.0
    for t, share in enumerate(kept):
        average = share * average + (1 - share) * 7.0**t
        assert step(momentum, 7.0**t)[1] == pytest.approx(average, rel=1e-14)
        assert momentum.network.n_averaged == t + 1


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_buffers_are_copied_at_each_step(rate):
    momentum = small(nn.BatchNorm1d(4), rate=rate)
    for count in (1, 2):
        momentum(INPUTS, EVENT, TIME)
        online, target = dict(momentum.online.named_buffers()), momentum.target.named_buffers()
        assert online["1.num_batches_tracked"] == count
        assert online["1.running_mean"].any()
        assert online["1.running_var"].ne(1).all()
        assert all(torch.equal(value, online[name]) for name, value in target)


@pytest.mark.parametrize(
    ("bank_size", "batches", "kept"),
    [
        (3, [[1], [2]], [1, 2]),
        (3, [[1], [2], [3], [4], [5]], [3, 4, 5]),
        (4, [[1, 2], [3, 4], [5, 6]], [3, 4, 5, 6]),
        (4, [[1, 2], [3, 4], [5]], [2, 3, 4, 5]),
        (4, [[1, 2, 3], [4, 5, 6], [7, 8]], [5, 6, 7, 8]),
        (4, [[1, 2, 3, 4], [5]], [2, 3, 4, 5]),
        (4, [[1], [2, 3, 4, 5, 6, 7]], [4, 5, 6, 7]),
        (1, [[1, 2], [3, 4, 5]], [5]),
    ],
    ids=str,
)
def test_the_oldest_rows_leave_first(bank_size, batches, kept):
    criterion = MomentumLoss(Spy(), bank_size=bank_size)
    for batch in batches:
        push(criterion, batch)
    assert len(criterion.bank) == len(kept)
    assert push(criterion, [100]) == kept


@pytest.mark.parametrize("far", [0, -1, LARGEST - 1, -LARGEST - 1])
def test_no_subject_is_in_the_risk_sets_twice(far):
    criterion = MomentumLoss(Spy(), bank_size=4)
    one, two, three, four = far, far + 1, -7, 2**40
    assert push(criterion, [1, 2, 3], [one, two, three]) == []
    assert push(criterion, [12, 14], [two, four]) == [1, 3]
    assert len(criterion.bank) == 4
    assert push(criterion, [21, 22, 24], [one, two, four]) == [3]
    assert push(criterion, [100], [5]) == [3, 21, 22, 24]
    assert push(criterion, [101], [6]) == [21, 22, 24, 100]


def test_the_loss_is_given_the_columns_of_bank_and_batch_and_no_others():
    criterion, pair = MomentumLoss(Spy(), bank_size=5), (torch.zeros(3), torch.zeros(3))
    criterion(pair, EVENT, TIME, weight=TIME, index=INDEX)
    assert set(criterion.loss.columns) == {"event", "time", "weight"}
    criterion(pair, EVENT, TIME + 3, weight=TIME + 6, index=INDEX + 3)
    assert sorted(criterion.loss.columns["time"].tolist()) == [1, 2, 3, 4, 5, 6]
    assert sorted(criterion.loss.columns["weight"].tolist()) == [1, 2, 3, 7, 8, 9]


def test_a_batch_without_an_event_learns_from_events_in_the_bank():
    momentum = small()
    momentum(INPUTS, EVENT, TIME)
    loss = momentum(INPUTS, ~EVENT & EVENT, TIME + 1)
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.any() for weight in momentum.online[0].parameters())


@pytest.mark.parametrize(
    "weight",
    [None, torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3)],
    ids=["none", "of_weight_zero", "of_rows_of_weight_zero"],
)
def test_without_any_event_the_loss_is_zero_and_so_its_gradient(weight):
    momentum, event = small(), EVENT & (weight is not None)
    for _ in range(2):
        loss = momentum(INPUTS, event, TIME, weight=weight)
        loss.backward()
        assert loss == 0
        assert all(not parameter.grad.any() for parameter in momentum.online.parameters())
    assert len(momentum.criterion.bank) == 6


def test_a_bank_without_an_event_warns_once():
    criterion, zeros = MomentumLoss(CoxPHLoss(), bank_size=4), torch.zeros(2)
    batch = (zeros, zeros), zeros.bool(), zeros
    criterion(*batch)  # half of the bank: no warning yet
    with pytest.warns(SkippedBatchWarning) as warned:
        criterion(*batch)
    assert [str(warning.message) for warning in warned] == [
        "Bank and batch, 4 rows, have no event: the Cox partial likelihood has nothing to learn "
        "from such a step. Use larger batches or a larger bank."
    ]
    criterion(*batch)
    criterion(*batch)


@pytest.mark.parametrize("event", [EVENT, ~EVENT & EVENT], ids=["first", "none_first"])
def test_the_function_is_as_good_as_the_module(event):
    network, losses = small().online, []
    for loss in (CoxPHLoss(), cox_neg_partial_log_likelihood):
        momentum = Momentum(copy.deepcopy(network), loss, bank_size=4)
        rows = [(event, INDEX), (EVENT, INDEX + 1), (~EVENT, INDEX)]
        losses.append([momentum(INPUTS, e, TIME, **COLUMNS, index=i) for e, i in rows])
    assert_close(torch.stack(losses[0]), torch.stack(losses[1]), 1e-6)  # float32


def test_weibull_needs_no_bank_and_has_an_average():
    momentum = small(loss=WeibullAFTLoss(), rate=0.5, warmup=False)
    assert momentum.criterion.bank is None
    target = {"event": EVENT, "time": TIME, "entry": TIME / 2, "weight": TIME}
    for _ in range(2):
        nn.init.normal_(momentum.online[0].weight)
        average = (momentum.target[0].weight + momentum.online[0].weight) / 2
        loss = momentum(INPUTS, **target, index=INDEX)
        output = momentum.online(INPUTS)
        assert torch.equal(loss, WeibullAFTLoss()(output, **target))
        assert torch.equal(loss, momentum.criterion((output, -output), **target))
        assert_close(momentum.target[0].weight, average, 1e-6)  # float32
    assert loss.requires_grad


def test_without_a_bank_there_is_the_average_alone():
    momentum = small(bank_size=0, rate=0.0)
    assert momentum.criterion.bank is None
    for time in (TIME, -TIME):
        nn.init.normal_(momentum.online[0].weight)
        plain = CoxPHLoss()(momentum.online(INPUTS), EVENT, time)
        assert torch.equal(momentum(INPUTS, EVENT, time), plain)
        assert torch.equal(momentum.target[0].weight, momentum.online[0].weight)


@pytest.mark.parametrize("paired", [True, False])
def test_a_network_in_training_mode_moves_the_average_and_may_return_both_outputs(paired):
    network = MomentumNetwork(nn.Linear(2, 1), rate=0.5, warmup=False, paired=paired)
    nn.init.normal_(network.online.weight)
    output = network(INPUTS)
    assert network.n_averaged == 1
    online, target = output if paired else (output, network.target(INPUTS))
    assert torch.equal(online, network.online(INPUTS))
    assert torch.equal(target, network.target(INPUTS))
    assert not torch.equal(online, target)


def test_only_the_online_network_learns():
    momentum = small()
    optimizer = torch.optim.AdamW(momentum.parameters(), lr=0.1, weight_decay=0.5)
    online, target = momentum.online[0].weight, momentum.target[0].weight
    for _ in range(3):
        momentum(INPUTS, EVENT, TIME).backward()
        before = online.clone(), target.clone()
        optimizer.step()
        assert not torch.equal(online, before[0])
        assert torch.equal(target, before[1])
        assert all(weight.grad is None for weight in momentum.target.parameters())
        assert not any(weight.requires_grad for weight in momentum.target.parameters())


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 1)

    def forward(self, table, image):
        return self.head(torch.cat([table, image.flatten(1)], 1))


@pytest.mark.parametrize("form", ["tuple", "mapping"])
def test_a_network_may_have_several_inputs(form):
    momentum = Momentum(Fusion, CoxPHLoss(), bank_size=5)
    image = torch.arange(9.0).reshape(3, 1, 3)
    inputs = (INPUTS, image) if form == "tuple" else {"image": image, "table": INPUTS}
    expected = momentum.online(INPUTS, image)
    loss = CoxPHLoss()(expected, EVENT, TIME)
    assert torch.equal(momentum(inputs), expected)
    assert_close(momentum(inputs, EVENT, TIME), loss, 1e-6)  # float32
    assert torch.equal(momentum.eval()(inputs), momentum.target(INPUTS, image))


class Halving(nn.Linear):
    def forward(self, x):
        return super().forward(x.mul_(0.5))


@pytest.mark.parametrize("form", ["position", "name"])
def test_the_target_takes_the_inputs_that_the_online_network_was_given(form):
    network, inputs = MomentumNetwork(Halving(2, 1)), INPUTS.clone()
    online, target = network(inputs) if form == "position" else network(x=inputs)
    assert torch.equal(online, target)  # whose weights are equal in the first step


def test_an_instance_becomes_the_online_network_and_the_target_a_copy():
    network = nn.Linear(2, 1)
    momentum = MomentumNetwork(network)
    assert momentum.online is network
    assert torch.equal(momentum.target.weight, network.weight)
    assert momentum.target.weight.data_ptr() != network.weight.data_ptr()
    assert isinstance(MomentumNetwork(lambda: nn.Linear(2, 1)).online, nn.Linear)


@pytest.mark.parametrize("columns", [{}, COLUMNS], ids=["plain", "columns"])
@pytest.mark.parametrize("gradient", ["exact", "balanced"])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_no_step_waits_for_the_device(columns, gradient, ties):
    """Tensors on "meta" have no values: to look at one, as a wait for a device would, raises."""
    network = nn.Linear(2, 1, device="meta")
    momentum = Momentum(network, CoxPHLoss(ties=ties), bank_size=4, gradient=gradient)
    optimizer = torch.optim.SGD(momentum.online.parameters(), lr=0.1)
    for start in (0, 1, 5):  # the second time with older copies, the third with a full bank
        inputs = torch.empty(3, 2, device="meta")
        momentum(inputs, EVENT, TIME.ceil(), **columns, index=INDEX + start).backward()
        optimizer.step()
    assert momentum.criterion.bank.output.device.type == "meta"
    assert len(momentum.criterion.bank) == 4


def test_the_bank_holds_no_graph():
    criterion, weight = MomentumLoss(CoxPHLoss(), bank_size=5), torch.ones(1, requires_grad=True)
    for _ in range(2):
        output = weight * INPUTS[:, 0]
        criterion((output, output), EVENT, TIME).backward()
    assert not criterion.bank.output.requires_grad


def on_one_device(output, event, time):
    """A loss that takes its arguments on the device of the network."""
    assert output.device == event.device == time.device
    return output.sum()


@pytest.mark.parametrize("loss", [on_one_device, WeibullAFTLoss()], ids=["function", "Weibull"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bank_size", [0, 4])
def test_targets_may_stay_on_the_cpu(loss, training, bank_size):
    network = nn.Linear(2, 1, device="meta")
    momentum = Momentum(network, loss, bank_size=bank_size).train(training)
    value = momentum(torch.empty(3, 2, device="meta"), EVENT, TIME, index=INDEX)
    assert value.device.type == "meta"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_balanced_gradient_is_as_large_as_that_of_a_batch_alone(reduction):
    torch.manual_seed(0)
    alone, balanced = torch.zeros(()), torch.zeros(())
    criterion = MomentumLoss(CoxPHLoss(reduction=reduction), bank_size=320, gradient="balanced")
    for _ in range(60):
        event, time = torch.rand(32) < 0.5, torch.rand(32)
        output = torch.zeros(32, requires_grad=True)
        (one,) = torch.autograd.grad(CoxPHLoss(reduction=reduction)(output, event, time), output)
        (other,) = torch.autograd.grad(criterion((output, output), event, time), output)
        alone, balanced = alone + one.norm(), balanced + other.norm()
    assert 0.8 < balanced / alone < 1.25
