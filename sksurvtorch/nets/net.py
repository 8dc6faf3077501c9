"""A skorch net for survival losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from skorch.helper import predefined_split
from torch import Tensor

from sksurvtorch._processes import Alone, Group
from sksurvtorch._validation import to_tensor
from sksurvtorch._warnings import warn
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.losses import CompetingRisksLoss, CoxPHLoss, MomentumNetwork
from sksurvtorch.nets.callbacks import FiniteLoss, PrintedLog, printed
from sksurvtorch.nets.columns import competing_risks_target, survival_target
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.defaults import on_cpu, optimizer_on_cpu, without_autocast_cache
from sksurvtorch.nets.groups import LearningRates, groups_of
from sksurvtorch.nets.interruption import Interruption, OthersWait, TrainingInterrupted
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.modules import Inputs, filled, is_built_in, keeps_input
from sksurvtorch.nets.penalty import SquaredWeights
from sksurvtorch.nets.random import RandomStream
from sksurvtorch.nets.rows import Rows, as_rows, join, pool
from sksurvtorch.nets.scoring import give_outcome, method_of
from sksurvtorch.nets.target import PlainTarget, Target
from sksurvtorch.nets.targets import target_of
from sksurvtorch.nets.training import Training
from sksurvtorch.nets.undo import NetState

#: What the net has while it is trained: batches with their rows; weights and callbacks looked up.
_OF_TRAINING = (
    "train_batches_",
    "_squared_weights",
    "_listeners_of_training",
    "_penalty",
    "_kind_of_training",
    "_n_skipped",
    "_interruption",
    "_members",
)


class SurvivalNet(NeuralNet):
    """Train a network with batches of tensors, and validate it on the whole validation set at once.

    Parameters
    ----------
    module : torch.nn.Module class or instance
        Network. An instance is trained as it is, and `sklearn.base.clone` copies it with its
        weights: so a clone of the net of an estimator begins with what that has learned.
    criterion : class, default=CoxPHLoss
        Loss. Risk sets are sorted once for a `CoxPHLoss`.
    l2 : float, default=0.0
        Half of it times the `SquaredWeights` of the network is added to the training loss.
    mean_information : float, optional
        Mean over the batches of what a mean loss is divided by, for weighted rows: the loss of a
        batch is then multiplied by the ratio of its own to this mean.
    random_stream : RandomStream, optional
        Random numbers of the network while it is trained; torch's global ones if left out.
    iterator_train, iterator_valid, dataset : classes, optional
        As for `skorch.NeuralNet`.
    **kwargs
        Further parameters of `skorch.NeuralNet`.
    """

    module: Any
    callbacks_: list[tuple[str, Any]]
    #: Of the step under way, for the history.
    _penalty: Tensor | None
    #: What there is besides one array, if X is a mapping.
    _inputs: Inputs | None = None
    #: None if all groups of the optimizer have the same.
    _learning_rates: LearningRates | None = None

    def __init__(
        self,
        module: Any,
        criterion: Any = CoxPHLoss,
        *,
        l2: float = 0.0,
        mean_information: float | None = None,
        random_stream: RandomStream | None = None,
        iterator_train: Any = BatchLoader,
        iterator_valid: Any = BatchLoader,
        dataset: Any = SurvivalDataset,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            dataset=dataset,
            **kwargs,
        )
        self.l2 = l2
        self.mean_information = mean_information
        self.random_stream = random_stream

    @property
    def group(self) -> Group:
        """The processes that train this net."""
        return Alone()

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        *record, (name, _) = super()._default_callbacks
        return [*record, ("finite_loss", FiniteLoss()), (name, PrintedLog(sink=printed))]

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a method of the net and of those callbacks that have one of their own."""
        getattr(self, method_name)(self, **cb_kwargs)
        try:
            for method in self._listeners(method_name):
                method(self, **cb_kwargs)
        except KeyboardInterrupt:
            if "_interruption" in vars(self):
                self._interruption.of_callback = True
            raise

    def initialize_callbacks(self) -> Any:
        """Make the callbacks; those that score get event and time as scikit-survival has them."""
        super().initialize_callbacks()
        for _, callback in self.callbacks_:
            give_outcome(callback)
        return self

    def _listeners(self, method_name: str) -> list[Callable[..., None]]:
        """Return the methods of callbacks that do something, looked up once a training."""
        known: dict[Any, list[Callable[..., None]]] = vars(self).get("_listeners_of_training", {})
        key = method_name, *(id(callback) for _, callback in self.callbacks_)
        if key not in known:
            methods = [method_of(callback, method_name) for _, callback in self.callbacks_]
            idle = getattr(Callback, method_name, None)
            known[key] = [m for m in methods if getattr(m, "__func__", None) is not idle]
        return known[key]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a training under way, and the second copy of the network."""
        state: dict[str, Any] = super().__getstate__()
        state = {name: value for name, value in state.items() if name not in _OF_TRAINING}
        if self.initialized_ and self.module is _uncompiled(self.module_):
            state["module"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the network that is trained for the one that was given, if they were one."""
        super().__setstate__(state)
        if self.module is None:
            self.module = _uncompiled(self.module_)
        old = getattr(self, "optimizer_", None)
        if type(old) is torch.optim.LBFGS:  # of which torch pickles less than a step needs
            self.optimizer_ = torch.optim.LBFGS(old.param_groups[0]["params"])
            self.optimizer_.load_state_dict(old.state_dict())

    def initialize(self) -> Self:
        """Make network, loss and optimizer; torch's default device does not count."""
        self._inputs = None
        with on_cpu():
            return super().initialize()  # type: ignore[no-any-return]

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> Any:
        """Return what an optimizer is made with; each pattern of `param_groups` has a match."""
        given = self.get_params_for(prefix).get("param_groups")
        self._learning_rates = None
        if not given:
            return super().get_params_for_optimizer(prefix, named_parameters)
        groups = groups_of(given, self.module_, named_parameters)
        self._learning_rates = LearningRates([group.get("lr") for group in groups])
        _, options = super().get_params_for_optimizer(prefix, [])
        return (groups,), options

    def _step_optimizer(self, step_fn: Any) -> None:
        """Take a step of the optimizer."""
        with optimizer_on_cpu(step_fn) as closure:
            super()._step_optimizer(closure)

    def _set_training(self, training: bool = True) -> None:
        """Set the mode of network and criterion, for training where it changes rather than always.

        A part that a callback has put into evaluation mode stays in it until then.
        """
        modules = [getattr(self, f"{name}_") for name in self._modules + self._criteria]
        if not (training and all(getattr(module, "training", True) for module in modules)):
            super()._set_training(training)

    def train(
        self,
        dataset: SurvivalDataset,
        validation: SurvivalDataset | None,
        training: Training,
        accelerator: Any = None,
    ) -> None:
        """Train for some more epochs, with settings of this training only."""
        self._set_up(training)
        trainer = self
        if accelerator is not None:
            from sksurvtorch.nets.accelerated import AcceleratedSurvivalNet

            trainer = AcceleratedSurvivalNet.around(self, accelerator)
        try:
            trainer._train(dataset, validation, training.description)
        finally:
            self.callbacks_ = getattr(trainer, "callbacks_", self.callbacks_)

    def _train(
        self,
        dataset: SurvivalDataset,
        validation: SurvivalDataset | None,
        description: Mapping[str, str] | None,
    ) -> None:
        """Train as set up."""
        self._kind_of_training = description
        # Once, rather than batch by batch.
        dataset = dataset.to(self.device)
        if validation is not None:
            validation = validation.to(self.device)
        self.train_split = None if validation is None else predefined_split(validation)
        self.initialize_callbacks()
        try:
            self.partial_fit(dataset)
        finally:
            self.train_split = None  # the validation rows stay with the caller

    def _set_up(self, training: Training) -> None:
        """Take the settings of a training."""
        self.max_epochs, self.batch_size = training.n_epochs, training.batch_size
        self.l2, self.mean_information = training.l2, training.mean_information
        self.callbacks = training.callbacks
        if training.lr is not None:
            n_groups = len(self.optimizer_.param_groups)
            rates = self._learning_rates or LearningRates([None] * n_groups)
            rates.set(self.optimizer_, training.lr)
        if training.bank_size is not None:
            self.criterion__bank_size = training.bank_size
            self.criterion_.bank.resize(training.bank_size)

    @property
    def description(self) -> Mapping[str, str] | None:
        """What tells the training under way from others; None if no estimator has said it."""
        told: Mapping[str, str] | None = vars(self).get("_kind_of_training")
        return told

    def skip_epochs(self, n_epochs: int) -> None:
        """Train for so many epochs less, which were trained before."""
        self._n_skipped = n_epochs

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        """Train for some epochs, less those that were trained before."""
        epochs = self.max_epochs if epochs is None else epochs
        try:
            return super().fit_loop(X, y, epochs - vars(self).get("_n_skipped", 0), **kwargs)
        except KeyboardInterrupt:
            interruption = vars(self).get("_interruption", Interruption())
            interruption.happened = interruption.is_real
            if interruption.happened and self.group.size > 1:
                raise OthersWait from None  # what follows needs all processes
            raise

    def partial_fit(self, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on, as `skorch.NeuralNet` does; Ctrl-C is raised when the net can be used."""
        self._interruption = interruption = Interruption()
        try:
            with interruption.watched(), without_autocast_cache():
                super().partial_fit(X, y, *args, **kwargs)
        except OthersWait:
            raise KeyboardInterrupt from None
        finally:
            for name in _OF_TRAINING:
                self.__dict__.pop(name, None)
        if interruption.happened:
            raise TrainingInterrupted(
                f"The training was interrupted in epoch {len(self.history)}. The network has the "
                "weights that it had then."
            )
        return self

    @contextmanager
    def undone_if_failed(self) -> Iterator[None]:
        """Set the net back to the state of now if what is done within this context fails."""
        before = NetState(self)
        try:
            yield
        except BaseException:
            before.restore(self)
            raise

    def torch_compile(self, module: Any, name: str) -> Any:
        """Compile networks, but no criterion: it decides by the data what to do."""
        if not self.compile or name.startswith("criterion"):
            return module
        if isinstance(module, MomentumNetwork):
            # The average counts its steps, which a compiled whole would take for constants.
            for part in (module.online, module.target):
                part.compile(**self.get_params_for("compile"))
            return module
        return super().torch_compile(module, name)

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Return a dataset; what is stored stays there, and the target of a Cox model is sorted."""
        if isinstance(X, SurvivalDataset):
            return X
        if isinstance(X, tuple):
            raise TypeError(
                "X must be one array or tensor, or a mapping of several inputs by their names, got "
                "a tuple."
            )
        own_dataset = isinstance(X, torch.utils.data.Dataset) and y is None
        if own_dataset and not issubclass(self.iterator_train, BatchLoader):
            return X  # which has a target of its own
        rows = self._join(X) if isinstance(X, Mapping) else as_rows(X)
        if self._takes_outcome(y):
            has_causes = isinstance(self.criterion_, CompetingRisksLoss)
            y = competing_risks_target(y) if has_causes else survival_target(y)
        if isinstance(y, Mapping):
            columns = {name: to_tensor(column) for name, column in y.items()}
            rows, columns = pool(rows, columns, self.group)
            y = target_of(self.criterion_, columns, lay_out=rows.can_be_sorted)
        if issubclass(self.dataset, SurvivalDataset):
            return self.dataset(rows, y)
        return self.dataset(rows.for_callbacks(), y)

    def _takes_outcome(self, y: Any) -> bool:
        """Whether y has to be a structured array; its check says so of anything else."""
        if y is None or isinstance(y, Mapping):
            return False
        own = not issubclass(self.dataset, SurvivalDataset)
        own = own or not issubclass(self.iterator_train, BatchLoader)
        return not own or getattr(getattr(y, "dtype", None), "names", None) is not None

    def _join(self, X: Mapping[str, Any]) -> Rows:
        """Return the rows of several inputs as one tensor, and remember how to take it apart."""
        parts = {name: as_rows(part) for name, part in X.items()}
        given = Inputs(
            {name: rows.shape[1:] for name, rows in parts.items()},
            {name: rows.dtype for name, rows in parts.items()},
        )
        known = self._inputs = self._inputs or given
        if known.shapes != given.shapes:
            raise ValueError(
                f"The inputs must have the shapes {known.shapes}, as in `fit`, got {given.shapes}."
            )
        for name, dtype in known.dtypes.items():
            if dtype.is_floating_point < given.dtypes[name].is_floating_point:
                raise TypeError(f"`{name}` must be of {dtype}, got {given.dtypes[name]}.")
        # One dtype that has the values of all.
        wide = any(d.itemsize > (4 if d.is_floating_point else 2) for d in known.dtypes.values())
        in_order = {name: parts[name] for name in known.shapes}
        return join(in_order, torch.float64 if wide else torch.float32)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Return the output of the network for a batch, which the network may write to."""
        if isinstance(x, Tensor) and not self.module_.training and is_built_in(self._network):
            output: Tensor = super().infer(filled(x), **fit_params)
            return output.narrow(-2, 0, x.shape[-2])
        if isinstance(x, Tensor):
            if not keeps_input(self._network):
                x = x.clone()
            if self._inputs is not None:
                x = self._inputs.split(x)
        if self.random_stream is None or not self.module_.training:
            return super().infer(x, **fit_params)
        with self.random_stream:
            return super().infer(x, **fit_params)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Return the loss of a batch, with the penalty when training."""
        loss: Tensor
        if isinstance(y_true, Mapping):
            # A dataset of the user's own makes another one.
            target = y_true if isinstance(y_true, Target) else PlainTarget(dict(y_true))
            loss = target.loss(self.criterion_, y_pred, self.device)
            if training and self.mean_information is not None:
                # A batch of heavy rows is a larger part of the likelihood.
                loss = loss * (target.information / self.mean_information)
        else:
            loss = super().get_loss(y_pred, y_true, X, training)
        if training and self.l2 > 0:
            # Outside a training, as in a single `train_step`, it has not been looked up.
            squared_weights = vars(self).get("_squared_weights") or self._find_weights()
            penalty = 0.5 * self.l2 * squared_weights()
            if vars(self).get("_penalty", penalty) is None:  # the first of a step, as its loss
                self._penalty = penalty.detach()
            loss = loss + penalty
        return loss

    def _find_weights(self) -> SquaredWeights:
        """Return what the penalty is of: with momentum the network that is trained."""
        module = self._network
        return SquaredWeights(module.online if isinstance(module, MomentumNetwork) else module)

    @property
    def _network(self) -> torch.nn.Module:
        """The network, without what accelerate has put around it."""
        module: Any = self.module_
        wrapped = isinstance(module, torch.nn.parallel.DistributedDataParallel)
        bare: torch.nn.Module = module.module if wrapped else module
        return bare

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Run one epoch; losses are read at its end where a batch would wait for the device."""
        if iterator is None:
            return
        batches = iterator if training else [(iterator.dataset.X, iterator.dataset.target)]
        losses: list[Any] = []
        penalties: list[Any] = []
        # A callback may write to a batch, but not to the data, which all rows in one batch are.
        whole = isinstance(iterator, BatchLoader) and (len(iterator) == 1 or not training)
        to_copy = whole and self._listeners("on_batch_begin")
        for batch in batches:
            if to_copy and isinstance(batch[0], Tensor):
                batch = batch[0].clone(), *batch[1:]
            self.notify("on_batch_begin", batch=batch, training=training)
            if training:
                self._penalty = None
                step = step_fn(batch, **fit_params)
                if self._penalty is not None:
                    penalties.append(self._penalty)
            else:
                step = self._validate(iterator, **fit_params)
            self.history.record_batch(prefix + "_batch_size", _n_rows(batch))
            loss = step["loss"].detach()
            # Small tensors kept between large ones would hold on to the memory of these.
            losses.append(loss.item() if loss.device.type == "cpu" else loss)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        rows = self.history[-1]["batches"][-len(losses) :]
        on_device = isinstance(losses[0], Tensor)
        # Callbacks decide by the losses of the first process in all of them.
        values = (
            torch.stack(losses)
            if on_device
            else torch.tensor(losses, dtype=torch.float64, device="cpu")
        )
        for row, value in zip(rows, self.group.of_first(values).tolist(), strict=True):
            row[prefix + "_loss"] = value
        self.history.record(prefix + "_batch_count", len(losses))
        if penalties:
            mean = np.average(torch.stack(penalties).tolist(), weights=_sizes(rows, prefix))
            self.history.record("train_penalty", float(mean))

    def _validate(self, iterator: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Return the loss over the whole validation set, predicted batch by batch."""
        self._set_training(False)
        with torch.no_grad():
            inputs = (
                iterator.inputs()
                if isinstance(iterator, BatchLoader)
                else (unpack_data(batch)[0] for batch in iterator)
            )
            y_pred = torch.cat([self.infer(X, **fit_params) for X in inputs])
            loss = self.get_loss(y_pred, iterator.dataset.target, training=False)
        return {"loss": loss, "y_pred": y_pred}

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of a dataset; all processes draw them as the first one would."""
        iterator = super().get_iterator(without_subset(dataset), training=training)
        if training:
            self.train_batches_ = iterator
            if isinstance(iterator, BatchLoader):
                iterator.draw_as_first(self.group)
        return iterator

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Do once what would be the same for every batch."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._listeners_of_training: dict[Any, list[Callable[..., None]]] = {}
        self._squared_weights = self._find_weights()
        super()._set_training(True)  # parts may be in another mode than the whole

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Say how many batches had to be left out."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        skipped = getattr(self.train_batches_, "n_skipped", 0)
        if skipped:
            warn(
                f"Batches without an event were left out of the fit, {skipped} in all: the Cox "
                "partial likelihood is not defined for them. Use a larger `batch_size`.",
                SkippedBatchWarning,
            )


def without_subset(dataset: Any) -> Any:
    """Return rows that skorch's ValidSplit has chosen as a dataset of their own."""
    if not isinstance(dataset, torch.utils.data.Subset):
        return dataset
    whole: Any = dataset.dataset
    return whole.select(torch.from_numpy(np.sort(dataset.indices)))


def _sizes(batches: Any, prefix: str) -> list[int]:
    """Return the numbers of rows of batches in the history."""
    return [batch[f"{prefix}_batch_size"] for batch in batches]


def _n_rows(batch: Any) -> int:
    """Return the number of rows of a batch, summed over the processes."""
    X, y = batch
    return y.n_rows if isinstance(y, Target) else len(X)


def _uncompiled(module: Any) -> Any:
    """Return a network without what torch.compile has put around it."""
    return getattr(module, "_orig_mod", module)
