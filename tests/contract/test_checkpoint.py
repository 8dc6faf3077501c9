"""A fit that was cut off goes on from its checkpoint as if nothing had happened."""

import json
import signal

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from sksurv.datasets import load_whas500

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.losses import CoxPHLoss
from sksurvtorch.nets import MLP, SurvivalNet, TrainingCheckpoint, survival_target

BASE = {
    "hidden_layer_sizes": (8,),
    "n_estimators": 1,
    "max_epochs": 8,
    "batch_size": 64,
    "random_state": 0,
}
OPTIONS = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "momentum": {"momentum": True},
    "early_stopping": {"early_stopping": True, "n_iter_no_change": 2, "lr": 0.03},
    "sgd": {"optimizer": "sgd", "lr_schedule": "constant", "optimizer__momentum": 0.9},
    "lbfgs": {"hidden_layer_sizes": (), "optimizer": "lbfgs"},
    "all": {"dropout": 0.2, "momentum": True, "early_stopping": True, "norm": "batch"},
}
both = pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])


class Accident(Callback):
    """Ends the training after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            raise OSError("the machine is gone")


@pytest.fixture(scope="module")
def patients():
    X, y = load_whas500()
    return X.to_numpy(dtype="float32"), y


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.pt"


def weights(model):
    return torch.cat([x.flatten() for x in model.net_.module_.state_dict().values() if x.ndim])


def cut_off(model, data, path, epoch, **options):
    """Fit until an epoch after which all is lost but the file."""
    model.set_params(callbacks=[TrainingCheckpoint(path, **options), Accident(epoch)])
    with pytest.raises(OSError, match="gone"):
        model.fit(*data)


@both
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_fit_resumes_to_the_bit(kind, options, patients, path):
    whole = kind(**BASE | options).fit(*patients)
    cut_off(kind(**BASE | options), patients, path, 1)
    cut_off(kind(**BASE | options), patients, path, 2)  # a second time
    seen = []

    class Count(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(net.history[-1, "epoch"])

    resumed = kind(**BASE | options, callbacks=[TrainingCheckpoint(path), Count()]).fit(*patients)
    assert whole.n_iter_ > 2  # there was something left to do
    assert seen == list(range(3, whole.n_iter_ + 1))
    assert torch.equal(weights(whole), weights(resumed))
    assert resumed.n_iter_ == whole.n_iter_
    assert resumed.net_.history[:, "train_loss"] == whole.net_.history[:, "train_loss"]
    np.testing.assert_array_equal(resumed.predict(patients[0]), whole.predict(patients[0]))


def test_a_fit_that_had_ended_reads_its_result(patients, path):
    model = CoxNNRegressor(**BASE, callbacks=[TrainingCheckpoint(path)])
    first = weights(model.fit(*patients))
    model.set_params(callbacks=[TrainingCheckpoint(path), Accident(epoch=8)])
    assert torch.equal(weights(model.fit(*patients)), first)  # no epoch, so no accident


def test_some_epochs_may_be_lost(patients, path):
    whole = CoxNNRegressor(**BASE).fit(*patients)
    cut_off(CoxNNRegressor(**BASE), patients, path, 5, every=3)
    assert len(torch.load(path, weights_only=True)["history"]) == 3
    resumed = CoxNNRegressor(**BASE, callbacks=[TrainingCheckpoint(path, every=3)]).fit(*patients)
    assert torch.equal(weights(whole), weights(resumed))
    assert len(torch.load(path, weights_only=True)["history"]) == 8  # the last is always there


def test_callbacks_that_come_later_are_set_back(patients, path):
    def with_scheduler(*others):
        scheduler = LRScheduler("StepLR", step_size=3, gamma=0.1)
        return CoxNNRegressor(**BASE, lr_schedule="constant", callbacks=[*others, scheduler])

    whole = with_scheduler().fit(*patients)
    with pytest.raises(OSError, match="gone"):
        # After the scheduler's step, as all callbacks see the end of an epoch before the file.
        with_scheduler().set_params(
            callbacks=[
                LRScheduler("StepLR", step_size=3, gamma=0.1),
                TrainingCheckpoint(path),
                Accident(4),
            ]
        ).fit(*patients)
    resumed = with_scheduler().set_params(
        callbacks=[LRScheduler("StepLR", step_size=3, gamma=0.1), TrainingCheckpoint(path)]
    )
    assert torch.equal(weights(whole), weights(resumed.fit(*patients)))


def test_wrong_use_is_refused(patients, path):
    with pytest.raises(ValueError, match="`every` must be at least 1"):
        CoxNNRegressor(**BASE, callbacks=[TrainingCheckpoint(path, every=0)]).fit(*patients)
    net = NeuralNet(
        MLP,
        CoxPHLoss,
        module__n_features=patients[0].shape[1],
        module__n_outputs=1,
        callbacks=[TrainingCheckpoint(path)],
    )
    with pytest.raises(TypeError, match="must be a SurvivalNet, got NeuralNet"):
        net.fit(patients[0], survival_target(patients[1]))


def test_a_net_of_ones_own_resumes(patients, path):
    def net(*callbacks):
        torch.manual_seed(0)
        return SurvivalNet(
            MLP,
            module__n_features=patients[0].shape[1],
            module__n_outputs=1,
            train_split=None,
            max_epochs=4,
            verbose=0,
            batch_size=64,
            iterator_train__shuffle=True,
            iterator_train__generator=np.random.default_rng(0),
            callbacks=list(callbacks),
        )

    whole = net().fit(*patients)
    with pytest.raises(OSError, match="gone"):
        net(TrainingCheckpoint(path), Accident(2)).fit(*patients)
    resumed = net(TrainingCheckpoint(path)).fit(*patients)
    np.testing.assert_array_equal(whole.predict(patients[0]), resumed.predict(patients[0]))


TWO_PROCESSES = """
import json, os, signal, socket, sys, traceback
import accelerate  # once for all forks
import numpy as np
from skorch.callbacks import Callback
from sksurv.datasets import load_whas500
from sksurvtorch import CoxNNRegressor
from sksurvtorch.nets import TrainingCheckpoint

X, y = load_whas500()
X = X.to_numpy(dtype="float64")

class Accident(Callback):
    def __init__(self, rank, epoch):
        self.rank, self.epoch = rank, epoch

    def on_epoch_end(self, net, **kwargs):
        if self.rank == 1 and net.history[-1, "epoch"] == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)

def fit(rank, epoch, path):
    share = np.array_split(np.arange(len(X)), 2)[rank]
    callbacks = [TrainingCheckpoint(path), Accident(rank, epoch)]
    model = CoxNNRegressor(
        hidden_layer_sizes=(8,), dropout=0.3, dtype="float64", max_epochs=8, batch_size=32,
        random_state=0, accelerator="auto", callbacks=callbacks,
    ).fit(X[share], y[share])
    if rank == 0:
        np.save(path + ".npy", model.predict(X))

def fit_all(rank, port, epoch, *paths):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        for path in paths:
            fit(rank, epoch, path)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

told = []
for epoch, *paths in json.loads(sys.argv[1]):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        processes.append(os.fork())
        if processes[-1] == 0:
            fit_all(rank, port, epoch, *paths)
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    told.append([ends, [os.path.exists(path + ".npy") for path in paths]])
print(json.dumps(told))
"""


def test_two_processes_resume_when_one_was_killed(path, forked):
    other = path.with_name("other.pt")
    # A fit whose second process is killed in its third epoch; then that fit, and another one.
    launches = [[3, str(path)], [99, str(path), str(other)]]
    run = forked(TWO_PROCESSES, arguments=[json.dumps(launches)])
    assert run.returncode == 0, run.stderr
    (killed, written), (ended, all_written) = json.loads(run.stdout)
    assert killed[0] > 0, run.stderr
    assert killed[1] == -signal.SIGKILL
    assert written == [False]
    assert ended == [0, 0], run.stderr
    assert all_written == [True, True]
    risks = [np.load(f"{name}.npy") for name in (path, other)]
    np.testing.assert_array_equal(*risks)
