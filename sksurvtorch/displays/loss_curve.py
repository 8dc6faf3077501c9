"""Losses of a fit by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksurvtorch._validation import check_option
from sksurvtorch.displays._axes import draw_legend, line_options, make_axes
from sksurvtorch.displays._checks import final_step
from sksurvtorch.displays._estimates import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

_LOSSES = {
    "AFTLoss": ("Negative log likelihood", "sample"),
    "CompetingRisksLoss": ("Negative log partial likelihood", "event"),
    "CoxPHLoss": ("Negative log partial likelihood", "event"),
    "WeibullAFTLoss": ("Negative log likelihood", "sample"),
}
_VALID_AXIS = ("same", "own")


class LossCurveDisplay:
    """Training and validation loss of a fit by epoch.

    Make one with `from_estimator`.

    Parameters
    ----------
    train_loss : array of shape (n_epochs,)
        Training loss of each epoch.
    valid_loss : array of shape (n_epochs,), optional
        Validation loss of each epoch; NaN where there was none.
    best_epoch : int, optional
        Epoch to mark, counted from 1.
    loss_name : str, default="Loss"
        What the loss is, for the label of its axis.
    penalised : bool, default=False
        Whether the training loss includes a penalty, for the legend.
    valid_axis : {"same", "own"}, default="same"
        Axis of the validation loss: the same as that of the training loss, or its own on the right.
    name : str, optional
        Name of the model for the legend.

    Attributes
    ----------
    train_line_ : matplotlib.lines.Line2D
        Training loss.
    valid_line_ : matplotlib.lines.Line2D, or None
        Validation loss.
    best_line_ : matplotlib.lines.Line2D, or None
        Vertical line at the best epoch.
    ax_ : matplotlib.axes.Axes
        Axes.
    valid_ax_ : matplotlib.axes.Axes
        Axes of the validation loss, `ax_` itself or a twin of it.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    Notes
    -----
    The loss of `CoxNNRegressor` is the negative log partial likelihood per event. That of an
    accelerated failure time model is the negative log likelihood per sample, of times whose
    logarithms are standardised. With sample weights both are per unit of weight.

    The training loss of an epoch is the mean over its batches, weighted by their numbers of rows.
    The loss of a batch is computed before the optimizer's step, and with dropout if there is any.
    It includes the L2 penalty, ``alpha / 2`` times the sum of the squared weights, on the same
    scale. The validation loss is that of the whole validation set after the epoch, without the
    penalty.

    A Cox loss grows with the logarithm of the number of rows at risk. For the training loss these
    are rows of the batch, with momentum also rows of the memory bank; for the validation loss they
    are rows of the whole validation set. So for a Cox model, and for any model with a penalty, the
    shapes of the two curves can be compared, but not their levels, and each has its own axis.

    The best epoch is the one whose weights early stopping has restored. If it has restored none,
    the best epoch is that of the lowest validation loss, but the fitted weights are those of the
    last epoch. For a model from a file the best epoch is that of the lowest validation loss, too.

    Examples
    --------
    >>> from sksurv.datasets import load_whas500
    >>> from sksurvtorch import WeibullAFTRegressor
    >>> from sksurvtorch.displays import LossCurveDisplay
    >>> X, y = load_whas500()
    >>> model = WeibullAFTRegressor(max_epochs=5, early_stopping=True, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(model.fit(X[["age", "bmi"]].astype(float), y))
    >>> display.loss_name
    'Negative log likelihood per sample'
    >>> len(display.valid_loss), int(display.valid_loss.argmin()) + 1 == display.best_epoch
    (5, True)
    """

    train_line_: Line2D
    valid_line_: Line2D | None
    best_line_: Line2D | None
    ax_: Axes
    valid_ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        train_loss: Array,
        valid_loss: Array | None = None,
        *,
        best_epoch: int | None = None,
        loss_name: str = "Loss",
        penalised: bool = False,
        valid_axis: str = "same",
        name: str | None = None,
    ) -> None:
        self.train_loss = train_loss
        self.valid_loss = valid_loss
        self.best_epoch = best_epoch
        self.loss_name = loss_name
        self.penalised = penalised
        self.valid_axis = valid_axis
        self.name = name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        valid_axis: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        valid_axis : {"same", "own"}, optional
            Axis of the validation loss, in place of that of the display.
        name : str, optional
            Name of the model for the legend, in place of that of the display.
        **kwargs
            Options of both curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        valid_axis = self.valid_axis if valid_axis is None else valid_axis
        check_option("valid_axis", valid_axis, _VALID_AXIS)
        name = self.name if name is None else name
        self.ax_ = make_axes(ax, self)
        self.figure_ = self.ax_.figure
        self._draw_curves("" if name is None else f"{name}, ", valid_axis == "own", kwargs)
        self._mark_best()
        self._label()
        return self

    def _draw_curves(self, prefix: str, own_axis: bool, given: dict[str, Any]) -> None:
        """Draw the losses."""
        epochs = np.arange(1, len(self.train_loss) + 1)
        label = f"{prefix}training" + (" with penalty" if self.penalised else "")
        options = line_options(given, linewidth=1.8, label=_capital(label))
        (self.train_line_,) = self.ax_.plot(epochs, self.train_loss, **options)
        self.valid_ax_, self.valid_line_ = self.ax_, None
        if self.valid_loss is None:
            return
        defaults: dict[str, Any] = {"linewidth": 1.8, "linestyle": "--"}
        if own_axis:
            self.valid_ax_ = self.ax_.twinx()
            self.valid_ax_.spines["top"].set_visible(False)
            defaults["color"] = "C1"  # the colours of the twin start anew
        options = line_options(given, **defaults, label=_capital(f"{prefix}validation"))
        (self.valid_line_,) = self.valid_ax_.plot(epochs, self.valid_loss, **options)

    def _mark_best(self) -> None:
        """Mark the best epoch on the curve that chose it."""
        self.best_line_ = None
        if self.best_epoch is None:
            return
        line, loss = self.train_line_, self.train_loss
        if self.valid_line_ is not None and self.valid_loss is not None:
            line, loss = self.valid_line_, self.valid_loss
        self.best_line_ = self.ax_.axvline(
            self.best_epoch, color="0.35", linewidth=1, linestyle=":", zorder=1
        )
        (marker,) = self.valid_ax_.plot(
            self.best_epoch, loss[self.best_epoch - 1], "o", color=line.get_color()
        )
        marker.set_label(f"Best epoch: {self.best_epoch}")

    def _label(self) -> None:
        """Label the axes, and name the lines of both in one legend."""
        from matplotlib.ticker import MaxNLocator

        self.ax_.set(xlabel="Epoch", ylabel=self.loss_name)
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        lines = list(self.ax_.lines)
        if self.valid_ax_ is not self.ax_:
            self.valid_ax_.set_ylabel(f"{self.loss_name}, validation")
            self.ax_.set_ylabel(f"{self.loss_name}, training")
            lines += self.valid_ax_.lines
        named = [line for line in lines if not str(line.get_label()).startswith("_")]
        curves = [line for line in (self.train_line_, self.valid_line_) if line is not None]
        draw_legend(self.valid_ax_, *curves, handles=named)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        valid_axis: str = "auto",
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the losses of a fit.

        Parameters
        ----------
        estimator : fitted estimator
            Estimator of this package, a pipeline or a search that ends in one, or a skorch net.
        valid_axis : {"auto", "same", "own"}, default="auto"
            Axis of the validation loss: the same as that of the training loss, or its own on the
            right. ``"auto"`` is ``"own"`` where the levels of the two losses cannot be compared
            (see the notes).
        name : str, optional
            Name of the model for the legend.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of both curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        LossCurveDisplay
            The display, drawn.
        """
        check_option("valid_axis", valid_axis, ("auto", *_VALID_AXIS))
        net = _net_of(estimator)
        train_loss, valid_loss = (_column(net.history, key) for key in ("train_loss", "valid_loss"))
        criterion = _criterion_of(net)
        with_valid = not np.isnan(valid_loss).all()
        penalised = getattr(net, "l2", 0) > 0
        if valid_axis == "auto":
            alike = getattr(criterion, "sum_over_samples", True) and not penalised
            valid_axis = "same" if alike else "own"
        display = cls(
            train_loss,
            valid_loss if with_valid else None,
            best_epoch=_best_epoch(net, valid_loss),
            loss_name=_loss_name(criterion),
            penalised=penalised,
            valid_axis=valid_axis,
            name=name,
        )
        return display.plot(ax, **kwargs)


def _capital(label: str) -> str:
    """Return the label with its first letter in upper case."""
    return label[:1].upper() + label[1:]


def _net_of(estimator: Any) -> Any:
    """Return the skorch net of an estimator."""
    model = final_step(estimator)
    net = getattr(model, "net_", model)
    if not hasattr(net, "history"):
        check_is_fitted(model)
        raise TypeError(
            "`estimator` must be an estimator of this package, a pipeline or a search that ends in "
            f"one, or a skorch net, got {type(model).__name__}. It has no history of losses."
        )
    if not any("train_loss" in epoch for epoch in net.history or ()):
        raise ValueError(
            "`estimator` must have a training loss in its history, got "
            f"{len(net.history or ())} epochs and none. Fit it first."
        )
    return net


def _criterion_of(net: Any) -> Any:
    """Return the loss, with momentum the one inside."""
    criterion = net.criterion_
    return criterion.loss if type(criterion).__name__ == "MomentumLoss" else criterion


def _loss_name(criterion: Any) -> str:
    """Say what a criterion returns."""
    for kind in type(criterion).__mro__:
        if kind.__name__ in _LOSSES:
            name, unit = _LOSSES[kind.__name__]
            return f"{name} per {unit}" if criterion.reduction == "mean" else name
    return f"Loss ({type(criterion).__name__})"


def _column(history: Any, key: str) -> Array:
    """Return a column of the history, NaN where an epoch has none."""
    return np.array([epoch.get(key, np.nan) for epoch in history], dtype=float)


def _best_epoch(net: Any, valid_loss: Array) -> int | None:
    """Return the epoch whose weights were kept, else that of the lowest validation loss."""
    for _, callback in getattr(net, "callbacks_", ()):
        # Only this tells it: a decrease that `tol` does not count keeps no weights.
        if getattr(callback, "load_best", False) and getattr(callback, "best_epoch_", 0):
            return int(callback.best_epoch_)
    return None if np.isnan(valid_loss).all() else int(np.nanargmin(valid_loss)) + 1
