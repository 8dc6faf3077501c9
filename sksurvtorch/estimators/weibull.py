"""Weibull accelerated failure time with a network for the scale, and perhaps the shape."""

from __future__ import annotations

from sksurvtorch.estimators._aft import AFTRegressor


class WeibullAFTRegressor(AFTRegressor):
    """Weibull accelerated failure time model whose scale is a neural network.

    A sample has the survival S(t) = exp(-(t / scale)^shape). The network gives the logarithm of the
    scale, and trains with the likelihood of right-censored times.

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
        is added to the (weighted) negative log likelihood of the rows of the fit. With more than 10
        features the squares of the first hidden layer count n_features / 10 times. The log
        shape of the standardised times counts as a weight.
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
        ``callbacks__*``.

    Attributes
    ----------
    net_ : SurvivalNet
        The trained skorch net: its network is ``net_.module_``, its losses are in ``net_.history``.
        With momentum the network is a `sksurvtorch.losses.MomentumNetwork`, which holds two.
    log_time_center_, log_time_spread_ : float
        Mean and standard deviation of the log times. The network is trained on times whose
        logarithms have mean 0 and standard deviation 1, whatever the unit.
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
    CoxNNRegressor : Model without an assumption on the baseline hazard.
    sksurvtorch.functional.weibull_neg_log_likelihood : The loss.

    Notes
    -----
    The built-in network standardises its inputs by their mean and standard deviation in the
    training data, so their units do not matter. It is a linear model plus the hidden layers, and
    its training starts at the penalised optimum of the linear model: what small or nearly linear
    data can carry is there from the start, and the hidden layers learn what is left.
    ``benchmarks/defaults.md`` has the measurements behind the default values.

    Fitting leaves the global random states of torch and numpy as they were.

    Examples
    --------
    Median survival in days at the lowest and at the highest Karnofsky score:

    >>> from sksurv.datasets import load_veterans_lung_cancer
    >>> from sksurvtorch import WeibullAFTRegressor
    >>> X, y = load_veterans_lung_cancer()
    >>> X = X[["Age_in_years", "Karnofsky_score"]]
    >>> model = WeibullAFTRegressor(random_state=0).fit(X, y)
    >>> low, high = model.predict_median(X.iloc[[X["Karnofsky_score"].argmin(), 69]])
    >>> bool(low < 30 < 100 < high)
    True
    """

    _distribution = "weibull"
