"""What skorch, torch and accelerate do, and no page of theirs describes, and sksurvtorch needs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import StepLR

from tests.contract.small_models import StopAfter


class StopAndLook(StopAfter):
    """Stops the training, and keeps whether it was told of the end."""

    def on_train_end(self, net, **kwargs):
        self.ended_ = True


@pytest.fixture
def net():
    """A net of skorch, trained on 8 rows and validated on 2 until a callback ended it."""
    callbacks = [("stop", StopAndLook(2)), ("stopping", EarlyStopping(load_best=True))]
    net = NeuralNet(nn.Linear(1, 1), nn.MSELoss, callbacks=callbacks, max_epochs=5, verbose=0)
    return net.fit(*np.ones((2, 10, 1), np.float32))


def test_a_keyboard_interrupt_of_a_callback_ends_the_training(net):
    assert len(net.history) == 2
    assert dict(net.callbacks_)["stop"].ended_


def test_each_batch_has_a_row_in_the_history(net):
    """`SurvivalNet` writes them in place of skorch, whose callbacks read them."""
    assert {"train_batch_count", "valid_batch_count"} <= net.history[-1].keys()
    train, valid = net.history[-1]["batches"]
    assert train == {"train_loss": train["train_loss"], "train_batch_size": 8}
    assert valid == {"valid_loss": valid["valid_loss"], "valid_batch_size": 2}


def test_early_stopping_has_its_state_where_a_checkpoint_looks(net):
    state = vars(dict(net.callbacks_)["stopping"])
    learned = {"misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_"}
    assert {name for name in state if name.endswith("_")} == learned
    assert state["load_best"]  # the curve of losses reads it


def test_the_state_of_a_net_is_a_new_dict_and_may_lack_the_network_it_was_given(net):
    state = net.__getstate__()
    assert state is not vars(net)
    assert state["module"] is net.module is net.module_
    assert "module_" not in state  # it is packed with the parts that may be on a GPU
    again = NeuralNet.__new__(NeuralNet)
    again.__setstate__({**state, "module": None})
    assert again.module is None
    torch.testing.assert_close(again.module_.weight, net.module_.weight, rtol=0, atol=0)


def test_callbacks_do_nothing_but_what_they_override():
    """`SurvivalNet` leaves the methods of `Callback` itself uncalled."""
    methods = [name for name in dir(Callback) if name.startswith("on_")]
    assert "on_batch_end" in methods
    assert not any(getattr(Callback(), name)(None, named_parameters=None) for name in methods)


def test_a_schedule_steps_the_scheduler_it_has_and_counts(net):
    """`CosineDecay` sets both attributes in place of skorch."""
    steps, schedule = [], LRScheduler(StepLR, step_every="batch").initialize()
    schedule.lr_scheduler_ = SimpleNamespace(step=lambda: steps.append(None))
    schedule.on_batch_end(net, training=True)
    assert (len(steps), schedule.batch_idx_) == (1, 1)


@pytest.mark.usefixtures("fresh_accelerate")
def test_accelerate_returns_what_it_does_not_know_and_wraps_an_optimizer(net):
    from accelerate import Accelerator

    accelerator, loader = Accelerator(cpu=True), object()
    assert accelerator.prepare(loader) is loader
    assert accelerator.prepare(net.optimizer_).optimizer is net.optimizer_


def test_whether_buffers_are_sent_can_be_set_after_a_network_is_wrapped():
    wrapper = DistributedDataParallel.__new__(DistributedDataParallel)  # needs no processes
    wrapper.require_forward_param_sync, wrapper.modules_buffers = True, [torch.ones(1)]
    sent = []
    for wrapper.broadcast_buffers in (True, False):
        sent.append(wrapper.will_sync_module_buffers())
    assert sent == [True, False]
