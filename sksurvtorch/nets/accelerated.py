"""A survival net that is driven by Hugging Face accelerate, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from skorch import NeuralNet
from skorch.hf import AccelerateMixin

from sksurvtorch._processes import Group, device_of, group_of
from sksurvtorch.nets.callbacks import printed
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.defaults import optimizer_on_cpu
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.net import SurvivalNet

#: What a net and the one that trains it have in common.
_HANDED_OVER = ("module", "criterion", "optimizer", "history")


class AcceleratedSurvivalNet(AccelerateMixin, SurvivalNet):
    """`SurvivalNet` with mixed precision, and with data-parallel training.

    In several processes, as ``torchrun`` or ``accelerate launch`` start them, each passes its own
    rows to `fit`. A step takes `batch_size` rows, summed over the processes. Its loss is taken over
    all of them, with risk sets that span the processes, so that the training equals that of one
    process with all rows. Every process ends with the same network.

    Parameters
    ----------
    module : torch.nn.Module class or instance
        Network.
    *args
        As for `SurvivalNet`.
    accelerator : accelerate.Accelerator
        How and where to train.
    **kwargs
        As for `SurvivalNet`; `device` is the accelerator's, and only the first process is verbose.
    """

    def __init__(self, module: Any, *args: Any, accelerator: Any, **kwargs: Any) -> None:
        kwargs.setdefault("device", device_of(accelerator))
        kwargs.setdefault("unwrap_after_train", False)  # it is done here, when all has ended
        # Where the mixin would print by the accelerator, this one prints as `SurvivalNet` does.
        kwargs.setdefault("callbacks__print_log__sink", printed)
        if not accelerator.is_main_process:
            kwargs["verbose"] = 0  # the first one prints for all
        super().__init__(module, *args, accelerator=accelerator, **kwargs)

    @classmethod
    def around(cls, net: SurvivalNet, accelerator: Any) -> Self:
        """Return a net with the parameters of another one, which trains what that one has."""
        made = cls(accelerator=accelerator, **net.get_params(deep=False))
        made._initialize_virtual_params()
        for name in _HANDED_OVER:
            with made._current_init_context(name):
                setattr(made, f"{name}_", getattr(net, f"{name}_"))
        made.initialized_ = True
        return made

    @property
    def group(self) -> Group:
        """The processes that train this net."""
        return group_of(self.accelerator)

    def _validate_params(self) -> None:
        """Let the device be that of the accelerator, where skorch wants None."""
        super(AccelerateMixin, self)._validate_params()

    def initialize(self) -> Self:
        """Initialise the net; accelerate takes it over when a training begins."""
        super(AccelerateMixin, self).initialize()
        return self

    def _initialize_accelerator(self) -> Self:
        """Let accelerate take over the modules and optimizers."""
        if vars(self)["_wrapped_with_accelerator"]:
            return self
        # A criterion without weights is nothing to accelerate, and an error on several CPUs.
        with_weights = [n for n in self._criteria if any(True for _ in self._weights(n))]
        for name in (*self._modules, *with_weights, *self._optimizers):
            setattr(self, f"{name}_", self._prepared(getattr(self, f"{name}_")))
        if self.module_ is not self._network and _buffers_stay_equal(self._network):
            self.module_.broadcast_buffers = False  # it would cost as much as the gradient
        self._wrapped_with_accelerator = True
        return self

    def _prepared(self, part: Any) -> Any:
        """Return a module or optimizer as it takes part."""
        if not self._takes_all_rows:
            return self.accelerator.prepare(part)
        # A line search needs the loss in full precision.
        several = self.group.size > 1 and isinstance(part, torch.nn.Module)
        return torch.nn.parallel.DistributedDataParallel(part) if several else part

    def _weights(self, name: str) -> Iterator[torch.nn.Parameter]:
        """Iterate over the weights of a module or criterion."""
        part = getattr(self, f"{name}_")
        return part.parameters() if isinstance(part, torch.nn.Module) else iter(())

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Return the rows to train on and those to validate with, of all processes."""
        dataset = self.get_dataset(X, y)
        if isinstance(dataset, SurvivalDataset) and self.group.size > 1:
            y = None  # which is of the rows of this process
        return super().get_split_datasets(dataset, y, **fit_params)

    def partial_fit(self, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on; at the end all processes have the network of the first."""
        if not self.initialized_:
            self.initialize()
        self._initialize_accelerator()
        try:
            return super().partial_fit(X, y, *args, **kwargs)
        finally:
            wrapped = vars(self)["module_"], vars(self)["optimizer_"]
            self._unwrap_accelerator()
            self.optimizer_ = getattr(wrapped[1], "optimizer", wrapped[1])
            # It would keep them for ever, and could not be pickled with them.
            for name in ("_models", "_optimizers"):
                kept = getattr(self.accelerator, name, [])
                kept[:] = [part for part in kept if all(part is not ours for ours in wrapped)]

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Compute gradients; a line search goes by the loss of the first process in all of them."""
        if not self._takes_all_rows:
            return super().train_step_single(batch, **fit_params)
        step = NeuralNet.train_step_single(self, batch, **fit_params)
        step["loss"] = self.group.of_first(step["loss"])
        return step

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Return the output of the network; to predict, a process does not wait for the others."""
        if self.module_.training:
            return super().infer(x, **fit_params)
        wrapped = self.module_
        self.__dict__["module_"] = self.accelerator.unwrap_model(wrapped)
        try:
            return super().infer(x, **fit_params)
        finally:
            self.__dict__["module_"] = wrapped

    def evaluation_step(self, batch: Any, training: bool = False) -> Any:
        """Return the output for a batch of this process."""
        return NeuralNet.evaluation_step(self, batch, training=training)

    def _step_optimizer(self, step_fn: Any) -> None:
        """Let a whole-data optimizer evaluate the loss as often as it wants."""
        if self._takes_all_rows:
            super(AccelerateMixin, self)._step_optimizer(step_fn)
            return
        with optimizer_on_cpu(step_fn) as closure:
            super()._step_optimizer(closure)

    @property
    def _takes_all_rows(self) -> bool:
        """Whether the optimizer evaluates the loss as often as it wants."""
        return isinstance(self.optimizer_, torch.optim.LBFGS)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Let all processes have the network of the first, to the last bit."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        if self.group.size > 1:
            for weight in self._network.state_dict().values():
                if isinstance(weight, torch.Tensor):
                    weight.copy_(self.group.of_first(weight))


def _buffers_stay_equal(module: torch.nn.Module) -> bool:
    """Whether no buffer of a network depends on the rows that a process holds."""
    equal = MLP, torch.nn.SyncBatchNorm
    with_buffers = [part for part in module.modules() if any(True for _ in part.buffers(False))]
    return all(isinstance(part, equal) for part in with_buffers)
