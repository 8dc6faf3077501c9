"""Accelerated failure time models: the way of a fit, whatever the distribution of the time."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._aft_intervals import AFTIntervals
from sksurvtorch.estimators._aft_target import (
    check_apart,
    common_time,
    learn_unit,
    scaled_target,
)
from sksurvtorch.estimators._settings import is_linear, penalties
from sksurvtorch.functional import aft_neg_log_likelihood
from sksurvtorch.functional._distributions import DISTRIBUTIONS
from sksurvtorch.losses import AFTLoss
from sksurvtorch.metrics import concordance_index_interval_censored
from sksurvtorch.nets import SharedShape
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns, events

SHAPES = ("shared", "per_sample")
# Loss beyond which the training sees its logarithm.
_TAME = 1e6
# A shape, of times with spread 1, that no data have.
_EXACT = 1e3


class AFTRegressor(AFTIntervals):
    """Accelerated failure time model whose log time has a location that is a neural network.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(64, 64)
        Width of each hidden layer. ``()`` is the linear model, and then `coef_` exists.
    activation : {"relu", "gelu", "selu", "silu", "tanh"}, default="relu"
        Function after each hidden layer.
    dropout : float, default=0.0
        Probability with which a hidden unit is left out of a training step.
    norm : {None, "batch", "layer"}, default=None
        Normalisation before each activation.
    module : torch.nn.Module class, function that makes one, or instance, default=None
        Network of your own in place of the built-in one, with an output of shape (n_samples, 1),
        the log scale, or (n_samples, 2) with ``shape="per_sample"``, the log shape besides; both
        are those of the standardised times.
        An instance is copied; options of a class or function are given as ``module__name``. X may
        then have any number of axes; it comes in the dtype of the network. The four parameters
        above, which are those of the built-in network, have to stay at their defaults. For a
        network of several inputs X is a mapping of arrays, one for each argument of ``forward``.
    shape : {"shared", "per_sample"}, default="shared"
        One shape for all samples, as in R's ``survreg``, or one for each: then the network has a
        second output, the log shape.
    n_estimators : int or "auto", default="auto"
        Number of networks. Several are trained at once, each without about a fifth of the rows and
        in batches of its own, and predict by the mean log scale and the mean log shape. From
        10 on they have several values of `alpha`, and `member_weights_` by the likelihood of the
        rows that they left out. ``"auto"`` is 15 for built-in networks with hidden layers, and 1
        for the linear model, a `module` of your own, L-BFGS, `momentum`, `accelerator`,
        `partial_fit`, a torch dataset, a memory map of more than 128 MiB, and fewer than 5 events.
    optimizer : {"adam", "sgd", "lbfgs"} or torch.optim class, default="adam"
        ``"lbfgs"`` takes all rows at once and runs until the loss no longer falls. Options are
        given as ``optimizer__name``; momentum of SGD, for one, is ``optimizer__momentum``. A class
        keeps its own defaults, such as the weight decay of AdamW.
    lr : float or "auto", default="auto"
        Learning rate; L-BFGS does not use it, since a line search finds its steps. ``"auto"`` is
        1e-3, and 1e-2 for several built-in networks.
    lr_schedule : {"cosine", "constant"}, default="cosine"
        ``"cosine"`` lets the learning rate fall to 0 over `max_epochs`; a scheduler among the
        `callbacks` needs ``"constant"`` here.
    alpha : float, sequence of float or "auto", default="auto"
        Strength of the L2 penalty: ``alpha / 2`` times the sum of the squared weights (not biases)
        is added to the (weighted) negative log likelihood of the rows of the fit. In the built-in
        network weights of the linear part and of the last layer are multiplied by the shape of the
        standardised times, so that for a Weibull model the log hazard ratio is penalised as in
        `CoxNNRegressor`, and with hidden layers and more than 10 features the squares of the
        weights of the features count n_features / 10 times. The shape itself is not penalised.
        ``"auto"`` is 10, 3 and 30 for five built-in networks with hidden layers each, 10 for fewer
        than ten, and 0 for the linear model and for a `module` of your own. A sequence has a value
        for each five of several networks.
    max_epochs : int or "auto", default="auto"
        Number of passes over the data. ``"auto"`` is 100, and 30 for several built-in networks;
        with L-BFGS, which ends by itself, it is at most 200 times 20 iterations.
    batch_size : int or None, default=256
        Largest number of rows in a step; None for all rows.
    early_stopping : bool, default=False
        Set rows aside, with their share of the events, and stop when the loss over them no longer
        falls. The weights of the best epoch are restored.
    validation_fraction : float, default=0.2
        Share of the rows to set aside for early stopping.
    n_iter_no_change : int, default=10
        Epochs without a lower validation loss before stopping.
    tol : float, default=0.0
        Decrease of the validation loss that counts as one.
    momentum : bool, default=False
        Predict with a running average of the network. See `sksurvtorch.losses.Momentum`.
    momentum_steps : int, default=10
        Of no effect here: the likelihood is a sum over samples, to which earlier batches add
        constants. It is a parameter so that both models can be searched alike.
    momentum_rate : float, default=0.999
        Share of the average that a step keeps, at least 0 and less than 1. It covers about
        ``1 / (1 - momentum_rate)`` steps.
    momentum_warmup : bool, default=True
        Limit the share that step t = 0, 1, ... keeps to ``(1 + t) / (10 + t)``. In a training of
        few steps the average then covers about the last tenth of them.
    device : str or torch.device, default="cpu"
        Where to compute: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` is the
        accelerator, if there is one.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the network. ``"auto"`` is float64 for L-BFGS, whose line search needs it, and
        float32 otherwise.
    compile : bool, default=False
        Compile the network by `torch.compile`.
    accelerator : None, "auto" or accelerate.Accelerator, default=None
        Train by Hugging Face accelerate: in several processes, of which each passes its own rows to
        `fit`, or in mixed precision. ``"auto"`` takes part in what ``torchrun`` or ``accelerate
        launch`` have started on the kind of `device`, and waits 10 minutes for other processes.
        `batch_size` is then that of each process. All of them get the same model: the one that a
        single process gets from all rows, with a batch size that is the sum of theirs.
    callbacks : list of skorch callbacks, default=None
        Further callbacks, or pairs of a name and a callback, whose options are given as
        ``callbacks__name__option``. Copies of them are used.
    verbose : int, default=0
        1 shows a bar with the losses and the time left, or some lines where the output is no
        terminal; 2 a line for each epoch, with the penalty in a column of its own.
    warm_start : bool, default=False
        Whether `fit` resumes the training of the last call rather than make a new network.
    random_state : int, RandomState instance or None, default=None
        Source of the first weights, dropout, batches and split. Equal ones give equal fits.
    **kwargs
        Parameters in skorch's spelling: ``module__*``, ``optimizer__*``, ``iterator_train__*`` and
        ``callbacks__*``. In ``optimizer__param_groups`` a group keeps the ratio of its ``lr`` to
        that of the estimator.

    Attributes
    ----------
    net_ : SurvivalNet
        The trained skorch net: its network is ``net_.module_``, its losses are in ``net_.history``.
        With momentum the network is a `sksurvtorch.losses.MomentumNetwork`, which holds two.
    log_time_center_, log_time_spread_ : float
        Mean and standard deviation of the log times; if there are intervals, those of the
        distribution that fits all rows best. The network is trained on times whose logarithms have
        mean 0 and standard deviation 1, whatever the unit.
    unique_times_ : array of shape (n_unique_times,)
        The distinct times of the training data, ascending.
    n_estimators_ : int
        Number of networks.
    member_weights_ : array of shape (n_estimators,)
        Weights of the networks in the mean that predicts; they add up to 1.
    oob_prediction_ : array of shape (n_samples,)
        Of several networks: for each training sample the risk score by those that have not seen it.
        NaN if all have, as may be with fewer than five, and for weights of 0. Not after
        `partial_fit`, nor after a training was resumed.
    oob_score_ : float
        Harrell's concordance index of `oob_prediction_`.
    device_ : torch.device
        Where it was computed.
    n_iter_ : int
        Number of epochs trained.
    n_features_in_ : int
        Number of features, without a `module`.
    input_shape_ : tuple of int, or dict of str to tuple of int
        Shape of a sample, with a `module`; of each input, if X was a mapping.
    feature_names_in_ : array of shape (n_features,)
        Names of the features, if X had any.
    """

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        module: Any = None,
        shape: str = "shared",
        n_estimators: int | str = "auto",
        optimizer: Any = "adam",
        lr: Any = "auto",
        lr_schedule: str = "cosine",
        alpha: Any = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | None = 256,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        momentum: bool = False,
        momentum_steps: int = 10,
        momentum_rate: float = 0.999,
        momentum_warmup: bool = True,
        device: Any = "cpu",
        dtype: str = "auto",
        compile: bool = False,
        accelerator: Any = None,
        callbacks: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        random_state: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            dropout=dropout,
            norm=norm,
            module=module,
            n_estimators=n_estimators,
            optimizer=optimizer,
            lr=lr,
            lr_schedule=lr_schedule,
            alpha=alpha,
            max_epochs=max_epochs,
            batch_size=batch_size,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            momentum=momentum,
            momentum_steps=momentum_steps,
            momentum_rate=momentum_rate,
            momentum_warmup=momentum_warmup,
            device=device,
            dtype=dtype,
            compile=compile,
            accelerator=accelerator,
            callbacks=callbacks,
            verbose=verbose,
            warm_start=warm_start,
            random_state=random_state,
            **kwargs,
        )
        self.shape = shape

    _positive_time = True
    _has_level = True
    _far = 2.0  # in standard deviations of the log times; a normal tail is flat from there on
    _bias = True
    _learned = ("unique_times_", "log_time_center_", "log_time_spread_")

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; with a `module` of your own they may have any number of axes.
        y : structured array of shape (n_samples,)
            Event indicator and positive time, as `sksurv.util.Surv` makes it; or, for events that
            are known to lie in an interval, lower and upper bounds of the time, as
            `sksurvtorch.nets.interval_censored_y` makes it.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples; a sample of weight 0 counts as absent.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation), in the unit of the time; 0 for none.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight=sample_weight, entry=entry)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None) -> Self:
        """Train for one more epoch.

        Parameters
        ----------
        X, y, sample_weight, entry : array-likes
            As in `fit`.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, partial=True, sample_weight=sample_weight, entry=entry)

    def predict(self, X: Any) -> np.ndarray:
        """Predict a risk score: the higher, the earlier the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples,)
            Minus the logarithm of the median time, counted from `log_time_center_`: the unit of
            the times does not matter.
        """
        return self._risk_score(self._output(X))

    def log_likelihood(
        self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None
    ) -> float:
        """Mean log likelihood of the outcomes of samples: the higher, the better.

        It may be compared between distributions, on data that had no part in the fit; see
        `sksurvtorch.metrics.log_likelihood_scorer`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y, sample_weight, entry : array-likes
            As in `fit`.

        Returns
        -------
        float
            Sum of the log likelihoods, each times its weight, divided by the sum of the weights. An
            event adds its density per unit of time, so the unit makes a difference.
        """
        log_params = self._log_params(X)
        columns: dict[str, Any] = self._check_y(y, in_fit=True)
        if len(y) != len(log_params):
            raise ValueError(
                f"`y` must have one row for each of X, {len(log_params)}, got {len(y)}."
            )
        if entry is not None:
            columns["entry"] = validation.check_vector(
                "entry", np.array(validation.for_numpy("entry", entry)), len(y)
            )
        if sample_weight is not None:
            given = validation.for_numpy("sample_weight", sample_weight)
            weight = _check_sample_weight(given, log_params, ensure_non_negative=True)
            columns["weight"] = torch.from_numpy(weight.astype(float))
        loss = aft_neg_log_likelihood(log_params, **columns, distribution=self._distribution)
        return -float(loss)

    @property
    def coef_(self) -> np.ndarray:
        """Log scale per unit of each feature; linear model of shape "shared" only."""
        return self._coefficients()[0]

    @property
    def intercept_(self) -> float:
        """Log scale where all features are 0; linear model of shape "shared" only."""
        return float(self._coefficients()[1])

    @property
    def shape_(self) -> float:
        """The shape that all samples share; `shape` "shared" only."""
        if self._as_fitted.shape != "shared":
            raise AttributeError("Only a model of shape 'shared' has `shape_`.")
        check_is_fitted(self, "net_")
        log_shape = float(self._trained.log_shape.detach())
        return math.exp(log_shape) / self.log_time_spread_

    def _coefficients(self) -> tuple[np.ndarray, float]:
        fitted = self._as_fitted
        if not (is_linear(fitted) and fitted.shape == "shared"):
            raise AttributeError(
                "Only the linear model, hidden_layer_sizes=(), of shape 'shared' has `coef_` and "
                "`intercept_`."
            )
        check_is_fitted(self, "net_")
        slope, intercept = (c.double().cpu() for c in self._trained.coefficients())
        spread = self.log_time_spread_
        return (spread * slope[0]).numpy(), self.log_time_center_ + spread * float(intercept[0])

    def _check_own_parameters(self) -> None:
        validation.check_option("shape", self.shape, SHAPES)

    def _criterion(self) -> nn.Module:
        return _TrainedLoss(distribution=self._distribution)

    def _risk_score(self, output: Tensor) -> np.ndarray:
        """Return minus the log median time, counted from the centre."""
        log_scale, log_shape = self._in_units_of_time(output).T
        log_median = log_scale + (-log_shape).exp() * float(self._standard(np.log([0.5]))[0])
        risk_score: np.ndarray = (self.log_time_center_ - log_median).numpy()
        return risk_score

    @property
    def _n_outputs(self) -> int:
        return 1 if self.shape == "shared" else 2

    @property
    def _log_shape_is_output(self) -> bool:
        return self._n_outputs == 2

    def _wrap_network(self, module: nn.Module) -> nn.Module:
        """Return the network with the shape that all samples share."""
        return SharedShape(module) if self.shape == "shared" else module

    def _check_y(self, y: Any, *, in_fit: bool) -> Columns:
        """Return the columns that y holds: event and time, or bounds of the time."""
        if not validation.is_interval_y(y):
            event, time = validation.check_survival_y(
                y,
                type(self).__name__,
                positive=in_fit,
                model=DISTRIBUTIONS[self._distribution].title,
                or_bounds=True,
            )
            return {"event": torch.from_numpy(event), "time": torch.from_numpy(time)}
        lower, upper = validation.check_interval_y(y, type(self).__name__)
        return {"lower": torch.from_numpy(lower), "upper": torch.from_numpy(upper)}

    def _concordance(
        self, columns: Columns, risk_score: np.ndarray, weight: np.ndarray | None
    ) -> float:
        """Return the concordance index of risk scores, given the columns of y."""
        if "upper" not in columns:
            return super()._concordance(columns, risk_score, weight)
        lower, upper = columns["lower"].numpy(), columns["upper"].numpy()
        found = concordance_index_interval_censored(lower, upper, risk_score, sample_weight=weight)
        return float(found[0])

    def _learn_from_columns(self, columns: Columns) -> None:
        """Learn the unit of the times that the network sees."""
        check_apart(columns)
        unit = learn_unit(columns, self._distribution)
        self.log_time_center_, self.log_time_spread_ = unit

    def _why_no_maximum(self, dataset: SurvivalDataset) -> str | None:
        """Return a sentence if nothing keeps the shape from growing without end."""
        assert dataset.y is not None
        columns = dataset.y.columns
        at = common_time(columns)
        if at is not None and "time" in columns:
            return (
                "The likelihood has no maximum: all events are at the last time, "
                f"{self.unique_times_[-1]:g}, and the shape grows without end. Survival before it "
                "is predicted to be 1. Use CoxNNRegressor, or a longer follow-up."
            )
        if at is not None:
            at = math.exp(self.log_time_center_ + self.log_time_spread_ * math.log(at))
            return (
                "The likelihood has no single maximum: all events may have been at one time, "
                f"{at:g}, and nobody is known to be free of it later. The shape is not determined, "
                "or grows without end. Nothing but a visit at another time can tell."
            )
        is_free = is_linear(self) and penalties(self) == (0.0,) and self.shape == "shared"
        n_events = int(events(columns).sum())
        is_exact = is_free and self.shape_ * self.log_time_spread_ > _EXACT
        if is_exact and self.n_features_in_ + 1 >= n_events:
            return (
                f"The likelihood has no maximum: {self.n_features_in_} features fit the times of "
                f"{n_events} events exactly, and the shape grows without end. Set `alpha` above 0, "
                "or leave features out."
            )
        return None

    def _make_dataset(self, rows: Rows, columns: Columns) -> SurvivalDataset:
        """Return the rows with their times in the unit of the network."""
        unit = self.log_time_center_, self.log_time_spread_
        return SurvivalDataset(rows, scaled_target(columns, *unit))


class _TrainedLoss(AFTLoss):
    """Loss that grows as its logarithm beyond a million, while a network is trained.

    A trial step may end where the loss is near the end of the floats; the squares that a line
    search or Adam takes there would overflow.
    """

    #: A sum of mean losses below it has none that is bent: it is the sum over all rows.
    additive_below = _TAME / 2

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss of a batch."""
        loss = super().forward(*args, **kwargs)
        if not self.training:
            return loss
        return torch.where(loss < _TAME, loss, _TAME * (1 + (loss.clamp(min=_TAME) / _TAME).log()))
