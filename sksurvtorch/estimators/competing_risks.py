"""Competing risks with a network for the log hazard ratio of each cause."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._incidence import CausesBaseline
from sksurvtorch.estimators._incidence_intervals import IncidenceIntervals
from sksurvtorch.estimators._inputs import warn_of_nearly_tied_times
from sksurvtorch.estimators._partial_likelihood import PartialLikelihoodEstimator
from sksurvtorch.estimators._settings import is_linear
from sksurvtorch.functional import competing_risks_baseline
from sksurvtorch.losses import CompetingRisksLoss
from sksurvtorch.metrics import concordance_index_competing_risks
from sksurvtorch.nets import competing_risks_y
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns
from sksurvtorch.nets.targets import CompetingRisksTarget, competing_risks_target_of


class CompetingRisksNNRegressor(PartialLikelihoodEstimator, IncidenceIntervals):
    """Which of several events comes first, and when: a Cox model of each cause by one network.

    The network has an output for each cause, the log hazard ratio, and is trained with the sum of
    the partial likelihoods. The baseline hazards are Breslow's.

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
        Network of your own in place of the built-in one, with an output of shape (n_samples,
        n_causes), or a function that makes one.
        An instance is copied; options of a class or function are given as ``module__name``. X may
        then have any number of axes; it comes in the dtype of the network. The four parameters
        above, which are those of the built-in network, have to stay at their defaults. For a
        network of several inputs X is a mapping of arrays, one for each argument of ``forward``.
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time share their risk set.
    hazard : {"cause-specific", "subdistribution"}, default="cause-specific"
        What the log hazard ratios are about. The cause-specific hazard is the rate of the event
        among those who have had none; the hazards of all causes together give the incidences. The
        subdistribution hazard, that of Fine and Gray, gives the incidence of its cause alone: a
        higher log hazard ratio is a higher incidence.
    cause : int, default=1
        The cause that `predict` and `score` are about. It may be changed after `fit`.
    n_causes : int or "auto", default="auto"
        Number of causes; ``"auto"`` is the largest status of the rows whose weight is not 0, and is
        refused if less than half of the numbers up to it have events. A fold may lack the rarest
        cause.
    n_estimators : int or "auto", default="auto"
        Number of networks. Several are trained at once, each without about a fifth of the rows and
        in batches of its own, and predict by the mean of their centred log hazard ratios. From
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
        is added to the (weighted) negative log likelihood of the rows of the fit. With hidden
        layers and more than 10 features the squares of the weights of the features count
        n_features / 10 times.
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
        Predict with a running average of the network, and let the risk sets of a batch include rows
        of earlier batches. A bank keeps the log hazard ratios that the average gave these rows. It
        is meant for small batches, such as those of images. See `sksurvtorch.losses.Momentum`. The
        fitted estimator holds the bank, and with it the targets of its rows.
    momentum_steps : int, default=10
        Number of earlier batches in the bank; 0 for the average alone.
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
    n_causes_ : int
        Number of causes.
    log_baseline_cumulative_hazard_ : array of shape (n_strata, n_causes, n_unique_times)
        Logarithm of the baseline cumulative hazard of each cause at `unique_times_`, -inf before
        its first event. Made anew whenever it is read.
    strata_ : array of shape (n_strata,), or None
        Labels of the strata, ascending.
    last_times_ : array of shape (n_strata,)
        The last time of the training data in each stratum, up to which predictions for its samples
        can be made; of all rows without strata. Rows of weight 0 do not count.
    unique_times_ : array of shape (n_unique_times,)
        The distinct times of the training data, ascending.
    n_estimators_ : int
        Number of networks.
    member_weights_ : array of shape (n_estimators,)
        Weights of the networks in the mean that predicts; they add up to 1.
    oob_prediction_ : array of shape (n_samples,)
        Of several networks: for each training sample the risk score of what `cause` was at `fit`,
        by those that have not seen it. NaN if all have, as may be with fewer than five, and for
        weights of 0. Not after `partial_fit`, nor after a training was resumed.
    oob_score_ : float
        Wolbers' concordance index of `oob_prediction_`.
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

    See Also
    --------
    CoxNNRegressor : Model of one kind of event.
    sksurvtorch.nets.competing_risks_y : Makes y of two columns.
    sksurvtorch.functional.competing_risks_neg_log_likelihood : The loss.

    Notes
    -----
    To count the other events as censorings, and call 1 - S the probability of this one, would be
    right only if those who have had another event could still have this one. The incidences here
    add up, with the probability of no event, to 1.

    With ``hazard="subdistribution"`` each cause has a model of its own. The models of all causes
    need not agree: their incidences can add up to more than 1, so survival is not offered.

    A cause without events in the training data has incidences of 0. All else is as in
    `CoxNNRegressor`; with one cause the model is the same.

    Examples
    --------
    >>> from sksurv.datasets import load_bmt
    >>> from sksurvtorch import CompetingRisksNNRegressor
    >>> X, y = load_bmt()  # status 1: death, 2: relapse
    >>> model = CompetingRisksNNRegressor(random_state=0).fit(X.astype(float), y)
    >>> incidence = model.predict_cumulative_incidence(X[:1].astype(float), times=[12.0])
    >>> incidence.shape  # one sample, two causes, one time
    (1, 2, 1)
    """

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        module: Any = None,
        ties: str = "efron",
        hazard: str = "cause-specific",
        cause: int = 1,
        n_causes: int | str = "auto",
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
        self.ties = ties
        self.hazard = hazard
        self.cause = cause
        self.n_causes = n_causes

    _learned = ("unique_times_", "strata_", "last_times_", "n_causes_", "_incidence_steps")

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None, stratum: Any = None
    ) -> Self:
        """Fit the network and the baseline hazards.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; with a `module` of your own they may have any number of axes.
        y : structured array of shape (n_samples,)
            Status and time, as `sksurvtorch.nets.competing_risks_y` makes it: 0 for a censored
            row, else the number of the cause of its event, from 1 on.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples; a sample of weight 0 counts as absent.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation): at risk on (entry, time]. With cause-specific
            hazards it may be the start of a start-stop row.
        stratum : array-like of shape (n_samples,), optional
            Labels of strata, each with its own baseline hazards.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight=sample_weight, entry=entry, stratum=stratum)

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None, stratum: Any = None
    ) -> Self:
        """Train for one more epoch; the baseline hazards become those of these samples.

        Parameters
        ----------
        X, y, sample_weight, entry, stratum : array-likes
            As in `fit`. The first call decides the number of causes, unless `n_causes` is given.

        Returns
        -------
        self
            The fitted estimator.
        """
        given = {"sample_weight": sample_weight, "entry": entry, "stratum": stratum}
        return self._fit(X, y, partial=True, **given)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the log hazard ratio of `cause`: the higher, the higher the rate of its event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples,)
            Risk scores. Differences between samples have a meaning, their level has none. With
            cause-specific hazards the incidence depends on the other causes, too: a sample with a
            higher score can have a lower incidence.
        """
        return self._risk_score(self._output(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Wolbers' concordance index of the log hazard ratios of `cause`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : structured array of shape (n_samples,)
            Status and time.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; a pair of samples counts with the product of the two.

        Returns
        -------
        float
            Share of the comparable pairs whose order is predicted: 0.5 by chance, 1 at best.
            Samples with an event of another cause are comparable as ones that never have this one.

        Notes
        -----
        With cause-specific hazards the order by incidence can be another one, and score higher:
        `sksurvtorch.metrics.make_incidence_scorer` judges the incidences.
        """
        return super().score(X, y, sample_weight)

    @property
    def coef_(self) -> np.ndarray:
        """Log hazard ratios per unit of each feature, (n_causes, n_features); linear model only."""
        if not is_linear(self._as_fitted):
            raise AttributeError("Only the linear model, hidden_layer_sizes=(), has `coef_`.")
        check_is_fitted(self, "net_")
        slope: np.ndarray = self._trained.coefficients()[0].cpu().numpy()
        return slope

    def _check_own_parameters(self) -> None:
        validation.check_option("hazard", self.hazard, validation.HAZARDS)
        validation.check_number("cause", self.cause, int, 1)
        validation.check_number("n_causes", self.n_causes, int, 1, auto=True)
        super()._check_own_parameters()

    def _check_y(self, y: Any, *, in_fit: bool) -> Columns:
        """Return the columns that y holds."""
        status, time = validation.check_competing_risks_y(y, type(self).__name__)
        return {"status": torch.from_numpy(status), "time": torch.from_numpy(time)}

    def _concordance(
        self, columns: Columns, risk_score: np.ndarray, weight: np.ndarray | None
    ) -> float:
        """Return Wolbers' concordance index of risk scores, given the columns of y."""
        y = competing_risks_y(columns["status"], columns["time"])
        result = concordance_index_competing_risks(
            y, risk_score, cause=self.cause, sample_weight=weight
        )
        return float(result[0])

    def _criterion(self) -> CompetingRisksLoss:
        n_causes = getattr(self, "n_causes_", None)  # a first fit asks before it has seen y
        return CompetingRisksLoss(ties=self.ties, hazard=self.hazard, n_causes=n_causes)

    def _risk_score(self, output: Tensor) -> np.ndarray:
        """Return the log hazard ratio of the cause, which is one of the outputs."""
        self._check_cause(self.cause)  # it may have been changed after the fit
        log_hazard_ratio: np.ndarray = output[:, self.cause - 1].numpy()
        return log_hazard_ratio

    @property
    def _n_outputs(self) -> int:
        return self.n_causes_

    def _learn_from_columns(self, columns: Columns) -> None:
        """Learn the number of causes."""
        found = columns["status"].unique()
        largest, n_found = int(found.max()), int((found > 0).sum())
        if isinstance(self.n_causes, str) and largest > 2 * n_found:
            raise ValueError(
                f"`y` must number the causes of its events from 1 on, got a status of {largest}, "
                f"and events of {n_found} causes. Give the causes other numbers, or set `n_causes` "
                f"to {largest} if there are so many."
            )
        self.n_causes_ = largest if isinstance(self.n_causes, str) else int(self.n_causes)
        self._check_cause(self.cause)

    def _make_dataset(self, rows: Rows, columns: Columns) -> SurvivalDataset:
        """Return the rows in order of time, so that batches need no sort."""
        warn_of_nearly_tied_times(columns)
        largest = int(columns["status"].max())
        if largest > self.n_causes_:
            raise ValueError(
                f"`y` must have a status of at most {self.n_causes_}, the number of causes that "
                f"the network has outputs for, got {largest}. Set `n_causes` to {largest}, and "
                "fit a new network."
            )
        target = competing_risks_target_of(columns, self._criterion(), self.n_causes_)
        return SurvivalDataset(rows, target).sorted()

    def _fit_baseline(self, dataset: SurvivalDataset, output: Tensor) -> None:
        """Estimate the baseline hazards of each stratum."""
        assert isinstance(dataset.y, CompetingRisksTarget)
        n_strata = self._learn_strata(dataset.y)
        fitted = competing_risks_baseline(output, risk_sets=dataset.y.risk_sets)
        self._baseline = CausesBaseline.of(fitted, n_strata)
