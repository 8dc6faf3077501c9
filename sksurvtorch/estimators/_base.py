"""What the two estimators share: input, training and prediction of a network's output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from sksurv.base import SurvivalAnalysisMixin
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.estimators import _accelerate as accelerate
from sksurvtorch.estimators import _inputs as inputs
from sksurvtorch.estimators import _momentum as momentum
from sksurvtorch.estimators import _network as network
from sksurvtorch.estimators._parameters import PrefixedParameters
from sksurvtorch.exceptions import NoEventError, NonFiniteLossError
from sksurvtorch.functional import _processes as processes
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets.dataset import Inputs, SurvivalDataset, information
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.random import RandomStream
from sksurvtorch.nets.rows import StoredRows
from sksurvtorch.nets.shares import SharedRows, share

if TYPE_CHECKING:
    from sksurvtorch.nets import SurvivalNet

Columns = dict[str, Tensor]


class SurvivalNetEstimator(SurvivalAnalysisMixin, RegressorMixin, PrefixedParameters, ABC):
    """Estimator that trains a network with a survival loss.

    The training is done by `net_`, a skorch net made in `fit`. It keeps no training data, but for
    the targets in the bank of the momentum mode.
    """

    #: Whether the likelihood needs times above 0.
    _positive_time: ClassVar[bool]
    #: Whether the built-in network has an intercept.
    _bias: ClassVar[bool]
    #: What a fit learns besides the network, by name.
    _learned: ClassVar[tuple[str, ...]]

    #: Labels of the strata of the last fit, by code.
    _labels: np.ndarray | None = None

    dropout: float
    momentum: bool
    accelerator: Any
    net_: SurvivalNet
    device_: torch.device

    @abstractmethod
    def _check_own_parameters(self) -> None:
        """Raise unless the parameters of this model alone are valid."""

    @abstractmethod
    def _criterion(self) -> dict[str, Any]:
        """Return the criterion of the net and its options."""

    @abstractmethod
    def _n_outputs(self) -> int:
        """Return the number of outputs of the network."""

    @abstractmethod
    def _wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """Add to the network what belongs to the model."""

    @abstractmethod
    def _start(self, columns: Columns) -> None:
        """Learn from the data what the target needs."""

    @abstractmethod
    def _dataset(self, X: Inputs, columns: Columns) -> SurvivalDataset:
        """Return the rows with their target, in an order of its own unless they are stored."""

    @abstractmethod
    def _finish(self, dataset: SurvivalDataset, output: Tensor) -> None:
        """Set what follows from the trained network."""

    @abstractmethod
    def predict(self, X: Any) -> np.ndarray:
        """Predict a risk score: the higher, the earlier."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Harrell's concordance index of the risk scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : structured array of shape (n_samples,)
            Event indicator and time.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; a pair of samples counts with the product of the two.

        Returns
        -------
        float
            Share of the comparable pairs whose order is predicted: 0.5 by chance, 1 at best.
        """
        event, time = validation.check_survival_y(y, type(self).__name__)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        risk_score = self.predict(X)
        result = concordance_index_censored(event, time, risk_score, sample_weight=sample_weight)
        return float(result[0])

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        go_on: bool,
        n_epochs: int | None,
        **others: Any,
    ) -> Self:
        """Train a new net, or go on with the one there is."""
        go_on = go_on and hasattr(self, "net_")
        accelerator = accelerate.resolve(self)
        with accelerate.together(accelerator):
            network.check_parameters(self)
            momentum.check_parameters(self)
            self._check_own_parameters()
            if go_on:
                network.check_goes_on(self)
        # A model that was trained on another machine can predict here, but not always train.
        device = validation.resolve_device(self.device_ if go_on else self.device)
        self.device_ = (
            device if accelerator is None else processes.without_number(accelerator.device)
        )
        with accelerate.together(accelerator):
            rows, columns = self._check_data(X, y, sample_weight, reset=not go_on, **others)
        if accelerator is not None and accelerator.num_processes > 1:
            accelerate.check_alike(self, columns, go_on=go_on)
            rows, columns = self._share(rows, columns)
        n_samples = len(columns["event"]) if _is_shared(rows) else len(y)
        self._check_enough(n_samples, columns, reset=not go_on)
        if not go_on:
            self.__dict__.pop("net_", None)  # a fit that fails leaves no old network behind
            seed = network.draw_seed(self.random_state)
            self._seed = int(processes.of_first(torch.tensor(seed))) if _is_shared(rows) else seed
            self._identities = momentum.Identities()
            self._start(columns)
        dataset = self._dataset(rows, columns)
        self._train(dataset, accelerator, go_on=go_on, n_epochs=n_epochs)
        self.unique_times_ = np.unique(columns["time"].numpy())
        self._finish(dataset, self._finite_output(dataset.X))
        return self

    def _share(self, rows: Inputs, columns: Columns) -> tuple[Inputs, Columns]:
        """Return the rows of all processes, and their columns."""
        if "stratum" in columns and self._labels is not None:
            self._labels, codes = accelerate.merge_labels(self._labels, columns["stratum"])
            columns = columns | {"stratum": codes}
        return share(rows, columns)

    def _train(
        self, dataset: SurvivalDataset, accelerator: Any, *, go_on: bool, n_epochs: int | None
    ) -> None:
        """Train for a number of epochs, or for as many as the parameters say."""
        train, valid = self._split(dataset)
        assert train.y is not None
        informative = float(information(train.y))
        l2 = network.resolve_alpha(self) / informative
        batch_size = network.resolve_batch_size(self, len(train), accelerator)
        n_batches = -(-len(train) // batch_size)
        net = self.net_ if go_on else self._make_net(train, l2, batch_size, accelerator)
        net.l2, net.batch_size = l2, batch_size
        weighted = "weight" in train.y and n_batches > 1
        net.mean_information = informative / n_batches if weighted else None
        if momentum.uses_bank(self):
            momentum.resize_bank(self, net)
            # Where all rows come at once, the bank has none but older copies.
            if n_batches > 1 or n_epochs is not None:
                train = self._identities.add_to(train, self._labels)
        n_steps = None
        if n_epochs is None:
            n_epochs = network.n_epochs(self)
            n_steps = n_epochs * n_batches
        callbacks = network.make_callbacks(self, n_steps, accelerator)
        trainer = network.trainer(net, accelerator)
        trainer.train(train, valid, n_epochs, callbacks, lr=network.resolve_lr(self))
        net.callbacks_ = trainer.callbacks_
        self.net_ = net
        self.n_iter_ = len(net.history)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, **others: Any
    ) -> tuple[Inputs, Columns]:
        """Return the rows that count and their columns, event, time and so on."""
        X = self._check_X(X, reset=reset)
        event, time = validation.check_survival_y(
            y, type(self).__name__, positive=self._positive_time
        )
        n_samples = len(X)
        if len(event) != n_samples:
            raise ValueError(f"`y` must have one row for each of X, {n_samples}, got {len(event)}.")
        columns = {"event": torch.from_numpy(event), "time": torch.from_numpy(time)}
        for name, value in others.items():
            if value is not None:
                columns[name] = validation.check_vector(name, np.array(value), n_samples)
        if "entry" in columns:
            validation.check_entry(columns["entry"], columns["time"])
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight,
                X,
                dtype=np.float64,
                ensure_non_negative=True,
                allow_all_zero_weights=processes.n_processes() > 1,
            )
            columns["weight"] = validation.check_weight(
                weight, n_samples, may_vanish=processes.n_processes() > 1
            )
            # A row of weight 0 counts as absent, in batches and standardisation too.
            counts = columns["weight"] > 0
            if not counts.all():
                rows = counts.nonzero().squeeze(1)
                X = X.select(rows) if isinstance(X, StoredRows) else X.index_select(0, rows)
                columns = {name: column[counts] for name, column in columns.items()}
        return X, columns

    def _check_enough(self, n_samples: int, columns: Columns, *, reset: bool) -> None:
        """Raise unless there are rows and events to learn from."""
        if n_samples < 2:
            raise ValueError(f"X must have at least 2 samples to fit, got n_samples = {n_samples}.")
        if reset and not columns["event"].any():
            raise NoEventError(
                f"`y` must have an event, got {n_samples} rows that are censored or of weight 0."
            )

    def _check_X(self, X: Any, *, reset: bool) -> Inputs:
        """Return X as rows that the network can take; what is stored stays there."""
        own = self.module is not None
        if reset:  # an earlier fit may have had another kind of network
            for name in ("input_shape_", "n_features_in_"):
                self.__dict__.pop(name, None)
        rows = inputs.check(self, X, reset=reset)
        if own and reset:
            self.input_shape_ = tuple(rows.shape[1:])
        elif own and tuple(rows.shape[1:]) != self.input_shape_:
            raise ValueError(
                f"A sample of X must have shape {self.input_shape_}, as in `fit`, "
                f"got {tuple(rows.shape[1:])}."
            )
        return rows

    def _split(self, dataset: SurvivalDataset) -> tuple[SurvivalDataset, SurvivalDataset | None]:
        """Set validation rows aside for early stopping, with their share of the events."""
        if not self.early_stopping:
            return dataset, None
        # In order of time, as the rows lie unless they lie in a file.
        order = np.arange(len(dataset)) if dataset.order is None else dataset.order
        event = dataset.event[order]
        # Each kind is split by itself: train_test_split(stratify=...) refuses small ones.
        train, valid = [], []
        for rows in (np.flatnonzero(event), np.flatnonzero(~event)):
            shuffled = np.random.default_rng(self._seed).permutation(rows)
            n_valid = round(self.validation_fraction * len(rows))
            train.append(shuffled[n_valid:])
            valid.append(shuffled[:n_valid])
        if not (len(train[0]) and len(valid[0])):
            raise ValueError(
                f"`validation_fraction` must leave an event on both sides, got "
                f"{self.validation_fraction} of {event.sum()} events. Set `early_stopping` to "
                "False for so few."
            )
        parts = [order[np.sort(np.concatenate(part))] for part in (train, valid)]
        if isinstance(dataset.X, StoredRows):
            parts = [np.sort(rows) for rows in parts]  # neighbours are read together
        train_set, valid_set = (dataset.select(torch.from_numpy(rows)) for rows in parts)
        return train_set, valid_set

    def _make_net(
        self, train: SurvivalDataset, l2: float, batch_size: int, accelerator: Any
    ) -> SurvivalNet:
        """Make the network and the net around it."""
        stream = RandomStream(self._seed, self.device_)
        with stream:
            with accelerate.together(accelerator):
                module = network.make_module(self, train.X.shape[1:])
            if isinstance(module, MLP) and self.module is None:
                moments = inputs.Moments.of(train.X, train.weight)
                module.standardise(moments.mean, moments.spread)
            module.to(self.device_, network.resolve_dtype(self))
            # The first call of a lazy module draws its weights.
            with accelerate.together(accelerator):
                sample = inputs.head(train.X).to(self.device_)
                network.check_output(module, sample, self._n_outputs())
        if _is_shared(train.X):
            accelerate.check_network(module)
            module = accelerate.synchronised(module, self.device_)
        module = self._wrap(module).to(self.device_, network.resolve_dtype(self))
        self._made_with = network.made_with(self)
        if self.module is None and not (network.is_linear(self) and network.is_lbfgs(self)):
            part = inputs.sample(self, train)
            network.start_from_linear(self, module, part, l2, accelerator)
        if processes.rank() > 0 and _is_shared(train.X):  # dropout of its own
            stream = RandomStream(self._seed + processes.rank(), self.device_)
        return self._net_around(module, stream, batch_size)

    def _remake_net(self, batch_size: int) -> SurvivalNet:
        """Make a net like that of the fit, whose weights are still to be loaded."""
        stream = RandomStream(self._seed, self.device_)
        dtype = network.resolve_dtype(self)
        shape = self._sample_shape
        with stream:
            module = network.make_module(self, shape).to(self.device_, dtype)
            sample = torch.zeros((2, *shape), dtype=dtype, device=self.device_)
            network.check_output(module, sample, self._n_outputs())  # a lazy one becomes whole
        module = self._wrap(module).to(self.device_, dtype)
        return self._net_around(module, stream, batch_size)

    def _net_around(
        self, module: torch.nn.Module, stream: RandomStream, batch_size: int
    ) -> SurvivalNet:
        """Make the net around a network."""
        criterion = self._criterion()
        if self.momentum:
            module, criterion = momentum.wrap(self, module, criterion, batch_size)
        draws = self.module is not None or self.dropout > 0
        return network.make_net(
            self, module, criterion, batch_size=batch_size, stream=stream if draws else None
        )

    @property
    def _sample_shape(self) -> tuple[int, ...]:
        """The shape of a row of the training data."""
        own: tuple[int, ...] | None = getattr(self, "input_shape_", None)
        return (self.n_features_in_,) if own is None else own

    @property
    def _trained(self) -> Any:
        """The network that predicts: with momentum the average."""
        return momentum.for_prediction(self.net_.module_)

    def _output(self, X: Any) -> Tensor:
        """Return the output of the network for new samples, in float64."""
        check_is_fitted(self, "net_")
        return self._forward(self._check_X(X, reset=False)).double()

    def _finite_output(self, rows: Inputs) -> Tensor:
        """Return the output for the training rows, or raise if training has ruined it."""
        output = self._forward(rows)
        if isinstance(rows, SharedRows):
            output = rows.spread().gather(output)
        if not output.isfinite().all():
            del self.net_
            raise NonFiniteLossError(
                "The trained network gives NaN or infinity for rows of X. Scale the features, "
                "lower `lr`, or raise `alpha`."
            )
        return output

    def _forward(self, rows: Inputs) -> Tensor:
        output: Tensor | None = None
        n_rows, start = rows.n_held if isinstance(rows, StoredRows) else len(rows), 0
        for piece in self.net_.forward_iter(rows):
            piece = piece.unsqueeze(1) if piece.ndim == 1 else piece
            if output is None:
                output = piece.new_empty((n_rows, piece.shape[1]))
            output[start : start + len(piece)] = piece
            start += len(piece)
        assert output is not None
        return output


def _is_shared(rows: Inputs) -> bool:
    """Whether other processes hold rows, too."""
    return isinstance(rows, SharedRows)
