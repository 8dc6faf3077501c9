"""Cox proportional hazards with a network for the log hazard ratio."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.estimators._cox_intervals import CoxIntervals
from sksurvtorch.estimators._inputs import warn_of_nearly_tied_times
from sksurvtorch.estimators._partial_likelihood import PartialLikelihoodEstimator
from sksurvtorch.estimators._settings import is_linear
from sksurvtorch.losses import CoxPHLoss
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns, cox_target


class CoxNNRegressor(PartialLikelihoodEstimator, CoxIntervals):
    """Cox proportional hazards model whose log hazard ratio is a neural network.

    The network is trained with the partial likelihood; the baseline hazard is Breslow's.

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
        Network of your own in place of the built-in one, with an output of shape (n_samples, 1).
        An instance is copied; options of a class or function are given as ``module__name``. X may
        then have any number of axes; it comes in the dtype of the network. The four parameters
        above, which are those of the built-in network, have to stay at their defaults. For a
        network of several inputs X is a mapping of arrays, one for each argument of ``forward``.
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time share their risk set.
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
        With momentum the network is a `sksurvtorch.losses.MomentumNetwork`, which holds two.
    log_baseline_cumulative_hazard_ : array of shape (n_strata, n_unique_times)
        Logarithm of the baseline cumulative hazard of each stratum at `unique_times_`, -inf before
        its first event. Read-only, and made anew whenever it is read: 8 bytes for each stratum and
        time. The model itself keeps the steps of each stratum at its own events, and predicts from
        these.
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

    See Also
    --------
    WeibullAFTRegressor : Parametric model that also predicts beyond the follow-up.
    sksurvtorch.functional.cox_neg_partial_log_likelihood : The loss.

    Notes
    -----
    The built-in network standardises its inputs by their mean and standard deviation in the
    training data, so their units do not matter. It is a linear model plus the hidden layers, and
    its training starts at the penalised optimum of the linear model: what small or nearly linear
    data can carry is there from the start, and the hidden layers learn what is left.
    ``benchmarks/defaults.md`` has the measurements behind the default values.

    Fitting leaves the global random states of torch and numpy as they were.

    A batch without events has no partial likelihood. Events are spread evenly over the batches; a
    batch that has none all the same is left out, with a warning.

    Examples
    --------
    >>> from sksurv.datasets import load_veterans_lung_cancer
    >>> from sksurvtorch import CoxNNRegressor
    >>> X, y = load_veterans_lung_cancer()
    >>> X = X[["Age_in_years", "Karnofsky_score"]]
    >>> model = CoxNNRegressor(random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.7)
    True
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

    _learned = ("unique_times_", "strata_", "last_times_", "_baseline_steps")

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None, stratum: Any = None
    ) -> Self:
        """Fit the network and the baseline hazard.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; with a `module` of your own they may have any number of axes.
        y : structured array of shape (n_samples,)
            Event indicator and time, as `sksurv.util.Surv` makes it.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples; a sample of weight 0 counts as absent.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation, or the start of a start-stop row): at risk on
            (entry, time].
        stratum : array-like of shape (n_samples,), optional
            Labels of strata, each with its own baseline hazard.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight=sample_weight, entry=entry, stratum=stratum)

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, entry: Any = None, stratum: Any = None
    ) -> Self:
        """Train for one more epoch; the baseline hazard becomes that of these samples.

        With momentum the bank is kept from call to call. Samples that come again are then known if
        all of a call come again in the same order, whatever their features and weights. Others are
        taken for new ones, so leave it to the estimator to shuffle.

        Parameters
        ----------
        X, y, sample_weight, entry, stratum : array-likes
            As in `fit`.

        Returns
        -------
        self
            The fitted estimator.
        """
        given = {"sample_weight": sample_weight, "entry": entry, "stratum": stratum}
        return self._fit(X, y, partial=True, **given)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the log hazard ratio: the higher, the earlier the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples,)
            Risk scores. Differences between samples have a meaning, their level has none.
        """
        return self._risk_score(self._output(X))

    @property
    def coef_(self) -> np.ndarray:
        """Log hazard ratio per unit of each feature; linear model only."""
        if not is_linear(self._as_fitted):
            raise AttributeError("Only the linear model, hidden_layer_sizes=(), has `coef_`.")
        check_is_fitted(self, "net_")
        slope: np.ndarray = self._trained.coefficients()[0][0].cpu().numpy()
        return slope

    def _criterion(self) -> nn.Module:
        return CoxPHLoss(ties=self.ties)

    def _risk_score(self, output: Tensor) -> np.ndarray:
        """Return the log hazard ratio, which is the output."""
        log_hazard_ratio: np.ndarray = output[:, 0].numpy()
        return log_hazard_ratio

    @property
    def _n_outputs(self) -> int:
        return 1

    def _make_dataset(self, rows: Rows, columns: Columns) -> SurvivalDataset:
        """Return the rows in order of time, so that batches need no sort."""
        warn_of_nearly_tied_times(columns)
        target = cox_target(columns, self.ties, lay_out=rows.can_be_sorted)
        return SurvivalDataset(rows, target).sorted()

    def _number_rows(self, dataset: SurvivalDataset) -> SurvivalDataset:
        """Return the rows with the numbers by which the bank knows them again."""
        return self._identities.add_to(dataset, self._labels)

    def _fit_baseline(self, dataset: SurvivalDataset, output: Tensor) -> None:
        """Estimate the baseline hazard of each stratum."""
        assert dataset.y is not None
        n_strata = self._learn_strata(dataset.y)
        self._baseline = Baseline.of(dataset.y.breslow_baseline(output), n_strata)
