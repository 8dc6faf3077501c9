"""What the estimators share: parameters, the way of a fit, and the output of the network."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from sksurv.base import SurvivalAnalysisMixin
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group
from sksurvtorch.estimators import _inputs as inputs
from sksurvtorch.estimators._ensemble import LeftOut, joined, outputs_of_members
from sksurvtorch.estimators._fit import fit_whole
from sksurvtorch.estimators._functions import FollowUp, check_conditional_after, check_times
from sksurvtorch.estimators._momentum import Identities
from sksurvtorch.estimators._parameters import PrefixedParameters
from sksurvtorch.estimators._path import SurvivalPaths
from sksurvtorch.estimators._settings import n_members
from sksurvtorch.losses import MomentumNetwork
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.defaults import without_autocast
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns

if TYPE_CHECKING:
    from sksurvtorch.estimators._state import Fitted
    from sksurvtorch.nets import SurvivalNet


class SurvivalNetEstimator(
    SurvivalPaths, SurvivalAnalysisMixin, RegressorMixin, PrefixedParameters, ABC
):
    """Estimator that trains a network with a survival loss.

    The training is done by `net_`, a skorch net made in `fit`. It keeps no training data, but for
    the targets in the bank of the momentum mode.
    """

    #: Whether the likelihood needs times above 0.
    _positive_time: ClassVar[bool]
    #: Whether the level of the output means something, beside its differences between samples.
    _has_level: ClassVar[bool]
    #: Where all outputs of a linear model are closer together, no coefficient is infinite.
    _far: ClassVar[float] = 10.0
    #: Whether the built-in network has an intercept.
    _bias: ClassVar[bool]
    #: What a fit learns besides the network, by name.
    _learned: ClassVar[tuple[str, ...]]

    net_: SurvivalNet
    n_estimators_: int
    unique_times_: np.ndarray
    device_: torch.device
    #: Start of all random numbers of the fit.
    _seed: int
    #: Parameters that made the network, at the time of the fit.
    _made_with: dict[str, Any]
    #: Numbers of the rows in the bank.
    _identities: Identities
    oob_prediction_: np.ndarray
    oob_score_: float

    @abstractmethod
    def __init__(
        self,
        *,
        hidden_layer_sizes: Any,
        activation: str,
        dropout: float,
        norm: str | None,
        module: Any,
        n_estimators: int | str,
        optimizer: Any,
        lr: Any,
        lr_schedule: str,
        alpha: Any,
        max_epochs: int | str,
        batch_size: int | None,
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        tol: float,
        momentum: bool,
        momentum_steps: int,
        momentum_rate: float,
        momentum_warmup: bool,
        device: Any,
        dtype: str,
        compile: bool,
        accelerator: Any,
        callbacks: Any,
        verbose: int,
        warm_start: bool,
        random_state: Any,
        **kwargs: Any,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.module = module
        self.n_estimators = n_estimators
        self.optimizer = optimizer
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.alpha = alpha
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.momentum = momentum
        self.momentum_steps = momentum_steps
        self.momentum_rate = momentum_rate
        self.momentum_warmup = momentum_warmup
        self.device = device
        self.dtype = dtype
        self.compile = compile
        self.accelerator = accelerator
        self.callbacks = callbacks
        self.verbose = verbose
        self.warm_start = warm_start
        self.random_state = random_state
        self._set_further(kwargs)

    @abstractmethod
    def predict(self, X: Any) -> np.ndarray:
        """Predict a risk score: the higher, the earlier."""

    def predict_members(self, X: Any) -> np.ndarray:
        """Predict a risk score by each member of the ensemble.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_estimators, n_samples)
            For each network what `predict` would give with it alone. The scores of the members of a
            Cox model are centred, so that their means over the training data are 0.
        """
        check_is_fitted(self, "net_")
        outputs = outputs_of_members(self, self._check_X(X, reset=False)).double()
        return np.stack([self._risk_score(output) for output in outputs])

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
        columns, risk_score = self._check_y(y, in_fit=False), self.predict(X)
        if len(y) != len(risk_score):
            raise ValueError(
                f"`y` must have one row for each of X, {len(risk_score)}, got {len(y)}."
            )
        if sample_weight is not None:
            sample_weight = validation.for_numpy("sample_weight", sample_weight)
            rows = np.arange(len(y))
            sample_weight = _check_sample_weight(sample_weight, rows, ensure_non_negative=True)
        return self._concordance(columns, risk_score, sample_weight)

    @property
    def member_weights_(self) -> np.ndarray:
        """Weights of the members in the mean that predicts, (n_estimators,), which add up to 1."""
        check_is_fitted(self, "net_")
        if n_members(self._as_fitted) == 1:
            return np.ones(1)
        weights: np.ndarray = self._trained.weight.flatten().double().cpu().numpy()
        return weights

    # What a model is: hooks of the way of a fit.

    @abstractmethod
    def _check_own_parameters(self) -> None:
        """Raise unless the parameters of this model alone are valid."""

    def _check_y(self, y: Any, *, in_fit: bool) -> Columns:
        """Return the columns that y holds."""
        positive = in_fit and self._positive_time
        event, time = validation.check_survival_y(y, type(self).__name__, positive=positive)
        return {"event": torch.from_numpy(event), "time": torch.from_numpy(time)}

    def _concordance(
        self, columns: Columns, risk_score: np.ndarray, weight: np.ndarray | None
    ) -> float:
        """Return the concordance index of risk scores, given the columns of y."""
        event, time = columns["event"].numpy(), columns["time"].numpy()
        return float(concordance_index_censored(event, time, risk_score, sample_weight=weight)[0])

    def _encode_strata(self, given: dict[str, Any], n_samples: int) -> dict[str, Any]:
        """Return what `fit` was given besides X and y, with codes in place of labels."""
        return given

    def _merge_strata(self, columns: Columns, group: Group) -> Columns:
        """Return the columns of this process, with codes that all processes share."""
        return columns

    def _learn_from_columns(self, columns: Columns) -> None:
        """Learn what has to be known before a network is made, such as the unit of time."""

    @abstractmethod
    def _make_dataset(self, rows: Rows, columns: Columns) -> SurvivalDataset:
        """Return the rows with their target, in the order that suits the loss if they can be."""

    @property
    @abstractmethod
    def _n_outputs(self) -> int:
        """Number of outputs of the network."""

    @property
    def _log_shape_is_output(self) -> bool:
        """Whether the second output is the log shape, and the first the log scale."""
        return False

    def _wrap_network(self, module: torch.nn.Module) -> torch.nn.Module:
        """Return the network with the weights that belong to the model."""
        return module

    def _why_no_maximum(self, dataset: SurvivalDataset) -> str | None:
        """Return why the likelihood of these rows has no maximum whatever the features are."""
        return None

    @abstractmethod
    def _risk_score(self, output: Tensor) -> np.ndarray:
        """Return the risk score of an output of the network in float64."""

    @abstractmethod
    def _criterion(self) -> nn.Module:
        """Return the loss; its `sum_over_samples` says whether each row has a loss of its own."""

    def _number_rows(self, dataset: SurvivalDataset) -> SurvivalDataset:
        """Return the rows with the numbers by which the bank knows them again."""
        return self._identities.add_to(dataset, None)

    def _follow_up(self, rows: np.ndarray | None = None) -> FollowUp:
        """Return up to which time curves are known, of samples with these numbers of strata."""
        return FollowUp(math.inf)

    def _fit_baseline(self, dataset: SurvivalDataset, output: Tensor) -> None:
        """Estimate what the network does not give, from its output for the training rows."""

    @abstractmethod
    def _learn_intervals(self, dataset: SurvivalDataset, left: LeftOut) -> None:
        """Learn what intervals are made of, if there are members that can be compared."""

    # The way of a fit.

    def _fit(self, X: Any, y: Any, *, partial: bool = False, **given: Any) -> Self:
        """Train a new net, or resume the training of the one there is; one epoch if partial."""
        # Within inference mode nothing can be trained; autocast would compute in another dtype.
        with (
            torch.inference_mode(False),
            without_autocast(),
            self._as_before_if_it_fails(partial=partial),
        ):
            interrupted = fit_whole(self, X, y, given, partial=partial)
        if interrupted is not None:
            raise interrupted
        return self

    @contextmanager
    def _as_before_if_it_fails(self, *, partial: bool) -> Iterator[None]:
        """Keep what an earlier fit has left until this one has succeeded."""
        before = dict(vars(self))
        undone: AbstractContextManager[None] = nullcontext()
        if hasattr(self, "net_") and (partial or self.warm_start):
            before["_identities"] = copy.deepcopy(self._identities)
            undone = self.net_.undone_if_failed()
        try:
            with undone:
                yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    # What predictions are made of.

    def _check_X(self, X: Any, *, reset: bool) -> Rows:
        """Return X as rows that the network can take; what is stored stays there."""
        own = (self if reset else self._as_fitted).module is not None
        if reset:  # an earlier fit may have had another kind of network
            for name in ("input_shape_", "n_features_in_"):
                self.__dict__.pop(name, None)
        rows, shape = inputs.check_X(self, X, reset=reset)
        if own and reset:
            self.input_shape_ = shape
        elif own and shape != self.input_shape_:
            raise ValueError(
                f"A sample of X must have shape {self.input_shape_}, as in `fit`, got {shape}."
            )
        return rows

    @property
    def _sample_shape(self) -> tuple[int, ...]:
        """The shape of a row of the training data; several inputs are columns of one tensor."""
        own: Any = getattr(self, "input_shape_", None)
        if isinstance(own, dict):
            return (sum(map(math.prod, own.values())),)
        return (self.n_features_in_,) if own is None else tuple(own)

    @property
    def _as_fitted(self) -> Any:
        """The parameters with which the network was made; those of now are for the next fit."""
        return SimpleNamespace(**vars(self) | vars(self).get("_made_with", {}))

    @property
    def _trained(self) -> Any:
        """The network that predicts: with momentum the average."""
        module = self.net_.module_
        if isinstance(module, MomentumNetwork):
            return module.target
        return getattr(module, "_orig_mod", module)  # without what torch.compile has put around it

    def _output(self, X: Any) -> Tensor:
        """Return the output of the network for new samples, in float64."""
        check_is_fitted(self, "net_")
        return self._forward(self._check_X(X, reset=False)).double()

    def _forward(self, rows: Rows) -> Tensor:
        """Return the output of the network for the rows held."""
        pieces = (x.unsqueeze(1) if x.ndim == 1 else x for x in self.net_.forward_iter(rows))
        return joined(pieces, rows.n_held, dim=0)

    @staticmethod
    def _is_array_wanted(return_array: Any, times: Any) -> bool:
        """Whether values of curves are wanted in place of functions."""
        if not isinstance(return_array, (bool, np.bool_)):
            raise TypeError(
                f"`return_array` must be True or False, got {return_array!r:.40}. Times are given "
                "by name: times=..."
            )
        return bool(return_array) or times is not None

    def _check_times(
        self, times: Any, n_samples: int | None, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the times of curves, which each of so many samples may have its own of."""
        if times is None:
            return self.unique_times_
        return check_times(times, self._follow_up(rows), n_samples)

    def _check_after(
        self, conditional_after: Any, n_samples: int, rows: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the time of each sample at which it is event-free, or None if left out."""
        if conditional_after is None:
            return None
        return check_conditional_after(conditional_after, n_samples, self._follow_up(rows))

    def _restore(self, state: Fitted, net: SurvivalNet | None = None) -> None:
        """Take what a fit has learned, and its net unless that is still to be made."""
        for name, value in state.learned.items():
            setattr(self, name, value)
        self.device_ = state.device
        self._made_with = state.made_with
        self.n_estimators_ = state.made_with.get("n_estimators", 1)
        self._identities = Identities()
        if net is not None:
            self.net_ = net
