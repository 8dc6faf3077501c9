"""What is true of momentum whatever the batches: it is the Cox loss over the bank and the batch."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sksurvtorch.losses import CoxPHLoss, Momentum, MomentumLoss
from tests import twins
from tests.cohorts import assert_close

COLUMNS = ("entry", "stratum", "weight", "index")
# Batches of any kind also fill a small bank with censored rows.
any_batches = pytest.mark.filterwarnings("ignore::sksurvtorch.exceptions.SkippedBatchWarning")
either_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])


class Twin:
    """The online network, its average and a list of rows, after the definitions."""

    def __init__(self, online, *, bank_size, rate=0.999, warmup=True, **options):
        self.online, self.target = online, copy.deepcopy(online).eval()
        self.bank_size, self.rate, self.warmup, self.options = bank_size, rate, warmup, options
        self.bank, self.n_averaged = [], 0

    def __call__(self, inputs, **columns):
        output = self.online(inputs).reshape(-1)
        batch = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        if "index" in columns:
            now = columns["index"].tolist()
            self.bank = [row for row in self.bank if row["index"] not in now]
        loss = self.loss(output, batch)
        with torch.no_grad():
            self.average()
            outputs = self.target(inputs).reshape(-1)
        self.bank += [row | {"output": value} for row, value in zip(batch, outputs, strict=True)]
        self.bank = self.bank[max(0, len(self.bank) - self.bank_size) :]
        return loss

    def loss(self, output, batch):
        """Loss over the bank and the batch; zero where no event has a weight."""
        rows = self.bank + batch
        columns = {name: torch.stack([row[name] for row in rows]) for name in batch[0]}
        columns.pop("index", None)
        if not (columns["event"] & (columns.get("weight", torch.ones(1)) > 0)).any():
            return 0.0 * output.sum()
        bank = [row["output"] for row in self.bank]
        pool = torch.cat([torch.stack(bank), output]) if bank else output
        return twins.cox(pool, **columns, **self.options)

    def average(self):
        """One step of the exponential moving average; buffers are copied."""
        t, self.n_averaged = self.n_averaged, self.n_averaged + 1
        rate = min(self.rate, (1 + t) / (10 + t)) if self.warmup else self.rate
        online, learned = self.online.state_dict(), dict(self.online.named_parameters())
        for name, value in self.target.state_dict().items():
            kept = rate if name in learned else 0.0
            value.copy_(kept * value + (1 - kept) * online[name])


def mlp(*layers, width=4):
    """A small network in float64, the same on each call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), *layers, nn.Linear(width, 1)).double()


def batches(sizes, with_=(), *, seed=0, n_subjects=12, shape=(3,), event_rate=0.5):
    """Inputs and columns of batches of these sizes, with ties; `with_` names the extra columns."""
    torch.manual_seed(seed)
    data = []
    for n in sizes:
        time = torch.randint(1, 6, (n,)).double()
        columns = {
            "event": torch.rand(n) < event_rate,
            "time": time,
            "entry": torch.floor(torch.rand(n) * time),
            "stratum": torch.tensor([7, -3])[torch.randint(2, (n,))],
            "weight": torch.tensor([0.0, 0.5, 1.0, 10.0]).double()[torch.randint(4, (n,))],
            "index": torch.randperm(n_subjects)[:n],
        }
        used = {name: columns[name] for name in ("event", "time", *with_)}
        data.append((torch.randn(n, *shape).double(), used))
    return data


def loss_and_gradient(model, seed, inputs, columns):
    """The loss and its gradient by the online weights; the seed is that of the dropout."""
    torch.manual_seed(seed)
    loss = model(inputs, **columns)
    gradient = torch.autograd.grad(loss, list(model.online.parameters()))
    return loss.detach(), torch.cat([part.reshape(-1) for part in gradient])


def descend(network, gradient, lr=0.3):
    """Take one step of gradient descent."""
    weights = nn.utils.parameters_to_vector(network.parameters())
    nn.utils.vector_to_parameters(weights.detach() - lr * gradient, network.parameters())


def assert_twins(network, data, *, ties="efron", reduction="mean", **options):
    """Train the network and its copy, side by side: losses, gradients, averages and banks agree."""
    twin = Twin(copy.deepcopy(network), ties=ties, reduction=reduction, **options)
    momentum = Momentum(network, CoxPHLoss(ties=ties, reduction=reduction), **options)
    for step, batch in enumerate(data):
        loss, gradient = loss_and_gradient(momentum, step, *batch)
        expected, slope = loss_and_gradient(twin, step, *batch)
        assert_close(loss, expected)
        assert_close(gradient, slope)
        assert len(momentum.criterion.bank or ()) == len(twin.bank)
        # From the same weights each time, so that rounding does not grow.
        descend(momentum.online, slope)
        descend(twin.online, slope)
    for name, value in twin.target.state_dict().items():
        assert_close(momentum.target.state_dict()[name], value)


@either_ties
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("with_", [(), *((name,) for name in COLUMNS), COLUMNS], ids="+".join)
def test_loss_and_gradient_are_those_of_the_bank_and_the_batch(with_, reduction, ties):
    data = batches([4, 4, 1, 4, 3, 12, 4, 4], with_)
    assert_twins(mlp(), data, ties=ties, reduction=reduction, bank_size=9)


@any_batches
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    bank_size=st.integers(1, 9),
    with_=st.sets(st.sampled_from(COLUMNS)),
    event_rate=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_so_they_are_for_batches_and_banks_of_any_size(sizes, bank_size, with_, event_rate, seed):
    data = batches(sizes, with_, seed=seed, n_subjects=7, event_rate=event_rate)
    assert_twins(mlp(), data, bank_size=bank_size)


@pytest.mark.parametrize(("rate", "warmup"), [(0.0, False), (0.5, False), (0.5, True), (0, True)])
def test_so_they_are_at_any_rate(rate, warmup):
    assert_twins(mlp(), batches([4] * 12), bank_size=8, rate=rate, warmup=warmup)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda: mlp(nn.Dropout(0.5), width=20), (3,)),
        (lambda: mlp(nn.BatchNorm1d(4)), (3,)),
        (lambda: mlp(nn.BatchNorm1d(4, momentum=None)), (3,)),
        (lambda: nn.Sequential(mlp(), nn.Flatten(0)), (3,)),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), mlp()), (1, 2, 2)),
    ],
    ids=["dropout", "batch_norm", "cumulative_batch_norm", "flat", "convolution"],
)
def test_so_they_are_for_any_network(network, shape):
    assert_twins(network().double(), batches([5] * 6, shape=shape), bank_size=8)


def test_without_a_bank_they_are_those_of_the_batch():
    assert_twins(mlp(), batches([4, 1, 5, 3], event_rate=1.0), bank_size=0)


@either_ties
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    with_=st.sets(st.sampled_from(COLUMNS[:3])),
    seed=st.integers(0, 1000),
)
def test_to_a_network_at_rest_the_last_batch_is_the_whole_cohort(ties, sizes, with_, seed):
    data = batches([*sizes, 1], {*with_, "weight"}, seed=seed)
    # The cohort has an event.
    data[-1][1]["event"][:], data[-1][1]["weight"][:] = True, 1.0
    loss = CoxPHLoss(ties=ties)
    momentum = Momentum(mlp(), loss, bank_size=100)
    for inputs, columns in data:
        last = momentum(inputs, **columns)
    cohort = {name: torch.cat([columns[name] for _, columns in data]) for name in data[0][1]}
    assert_close(last, loss(momentum.online(torch.cat([x for x, _ in data])), **cohort))


@given(seed=st.integers(0, 1000), n_epochs=st.integers(2, 3))
def test_from_the_second_epoch_on_every_batch_is(seed, n_epochs):
    """The index keeps each row in the risk sets once, in whatever order the batches are drawn."""
    ((inputs, columns),) = batches([12], COLUMNS, seed=seed, event_rate=1.0)
    columns["weight"] += 1.0
    momentum = Momentum(mlp(), CoxPHLoss(), bank_size=12)
    whole = CoxPHLoss()(momentum.online(inputs), **{k: columns[k] for k in columns if k != "index"})
    for epoch in range(n_epochs):
        for rows in torch.randperm(12).split(5):
            loss = momentum(inputs[rows], **{k: v[rows] for k, v in columns.items()})
            assert epoch == 0 or abs(loss - whole) <= 1e-12


def test_inputs_may_need_a_gradient():
    """As the output of another network does; that of an earlier batch is not asked again."""
    momentum, twin = Momentum(mlp(), CoxPHLoss(), bank_size=8), Twin(mlp(), bank_size=8)
    for inputs, columns in batches([4, 4, 4], event_rate=1.0):
        slopes = []
        for model in (momentum, twin):
            leaf = inputs.clone().requires_grad_()
            model(leaf, **columns).backward()
            slopes.append(leaf.grad)
        assert_close(*slopes)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    with_=st.sets(st.sampled_from(COLUMNS[:3])),
    seed=st.integers(0, 1000),
)
def test_the_balanced_gradient_is_scaled_and_centred(sizes, with_, seed):
    """By the weight shares s: (g - (1 - sum s²) s sum g) times rows of the pool / of the batch."""
    either = [MomentumLoss(CoxPHLoss(), bank_size=99, gradient=g) for g in ("exact", "balanced")]
    n_pooled = 0
    for inputs, columns in batches(sizes, with_, seed=seed, event_rate=1.0):
        output, target = inputs[:, :1].clone().requires_grad_(), inputs[:, 1:2]
        losses = [criterion((output, target), **columns) for criterion in either]
        assert torch.equal(*losses)
        exact, balanced = (torch.autograd.grad(loss, output)[0].squeeze(1) for loss in losses)
        weight = columns.get("weight", torch.ones(len(inputs)).double())
        n_batch = int((weight > 0).sum())
        n_pooled += n_batch
        if n_batch:
            s = weight / weight.sum()
            exact = n_pooled / n_batch * (exact - (1 - s @ s) * s * exact.sum())
        assert_close(balanced, exact)
