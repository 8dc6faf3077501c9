"""Predicted incidences of all causes over time, as areas that add up to 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays import _incidence as incidences
from sksurvtorch.displays._axes import make_axes, time_label
from sksurvtorch.displays._estimates import Array
from sksurvtorch.displays._given import strata_given

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Annotation

# Three that differ in hue for all kinds of colour vision, and in lightness where there is no
# colour. Their order makes neighbours differ most.
_COLORS = ("#004488", "#DDAA33", "#BB5566")
_NO_EVENT = "#E8E8E8"
# In sizes of the font: height of a line of text, width of the piece of an area, gap around it.
_LINE, _PIECE, _GAP = 1.4, 1.1, 0.6


class CumulativeIncidenceDisplay:
    """Predicted incidences of all causes over time, as areas that add up to 1 with no event.

    The areas are those of one sample, or of the mean of several. At each time the height of an area
    is the probability that the event of its cause has happened; that of the last area is the
    probability of no event. Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    incidence : array of shape (n_causes, n_times)
        Predicted probability that the event of each cause has happened.
    times : array of shape (n_times,)
        Times, ascending.
    cause_names : list of str, optional
        Names of the causes; by default Cause 1, Cause 2 and so on.
    no_event_name : str, default="No event"
        Name of the last area, such as Alive where all causes are causes of death.

    Attributes
    ----------
    areas_ : list of matplotlib.collections.PolyCollection
        Areas of the causes, from the lowest on, and that of no event.
    texts_ : list of matplotlib.text.Annotation
        Names of the areas with the probabilities at the last time.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    IncidenceCalibrationDisplay : Predicted and observed incidence of one cause, by groups.

    Notes
    -----
    The names stand beside the right end of their areas, outside of the axes: on axes of your own
    make room for them by ``layout="constrained"`` or `tight_layout`.

    Incidences of subdistribution hazards can add up to more than 1, since each cause has a model of
    its own. `CompetingRisksNNRegressor` then refuses to predict the probability of no event, and
    this display cannot be drawn.

    Examples
    --------
    Of ten people, two have had an event of cause 1 by time 5, and five one of cause 2:

    >>> from sksurvtorch.displays import CumulativeIncidenceDisplay
    >>> display = CumulativeIncidenceDisplay.from_predictions(
    ...     [[0, 0.2], [0, 0.5]], [0, 5], cause_names=["Relapse", "Death"]
    ... )
    >>> [text.get_text() for text in display.texts_]
    ['Relapse  20 %', 'Death  50 %', 'No event  30 %']
    """

    areas_: list[PolyCollection]
    texts_: list[Annotation]
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        incidence: Array,
        times: Array,
        *,
        cause_names: Sequence[str] | None = None,
        no_event_name: str = "No event",
    ) -> None:
        self.incidence = incidence
        self.times = times
        self.cause_names = cause_names
        self.no_event_name = no_event_name

    def plot(self, ax: Axes | None = None, *, time_unit: str | None = None, **kwargs: Any) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        **kwargs
            Options of all areas, see `matplotlib.collections.PolyCollection`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        names = [*_names(self.cause_names, len(self.incidence)), self.no_event_name]
        ax = make_axes(ax, self)
        n_times = len(self.times)
        above = np.cumsum(self.incidence, axis=0)
        edges = np.vstack([np.zeros(n_times), above, np.ones(n_times)])
        options = {"linewidth": 1.0, "edgecolor": "white"} | _spelled_out(kwargs)
        self.areas_ = []
        colors = _colors(len(self.incidence))
        for name, color, (lower, upper) in zip(names, colors, pairwise(edges), strict=True):
            of_area = {"facecolor": color, "label": name} | options
            self.areas_.append(ax.fill_between(self.times, lower, upper, **of_area))
        ax.set(
            xlabel=time_label(time_unit),
            ylabel="Probability",
            xlim=(0, self.times[-1]),
            ylim=(0, 1),
        )
        self.texts_ = _write_names(ax, self.areas_, edges[:, -1])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
        cause_names: Sequence[str] | None = None,
        no_event_name: str = "No event",
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the incidences that a model predicts.

        Parameters
        ----------
        estimator : fitted estimator
            Model of competing risks, such as `CompetingRisksNNRegressor`, or a pipeline or a search
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            One sample, such as ``X[:1]``, or several, of which the mean is drawn.
        times : array-like of shape (n_times,), optional
            Times at which to predict, ascending; by default 501 up to the last time of the fit. A
            curve stays as it is behind the last time of its stratum, unless times are given, which
            have to be within it.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free. The incidences are given that, and
            are drawn from there on.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.
        cause_names : list of str, optional
            Names of the causes; by default Cause 1, Cause 2 and so on.
        no_event_name : str, default="No event"
            Name of the last area.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of all areas, see `matplotlib.collections.PolyCollection`.

        Returns
        -------
        CumulativeIncidenceDisplay
            The display, drawn.
        """
        model, X = incidences.model_of_causes(estimator, X)
        incidence, times = incidences.predict_incidence(model, X, times, stratum, conditional_after)
        if hasattr(model, "predict_survival_function"):
            # What is left of 1 is a prediction of the model only if it has one of no event.
            model.predict_survival_function(X, times=[0.0], **strata_given(stratum))
        return cls.from_predictions(
            incidence,
            times,
            cause_names=cause_names,
            no_event_name=no_event_name,
            time_unit=time_unit,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        incidence: Any,
        times: Any,
        *,
        cause_names: Sequence[str] | None = None,
        no_event_name: str = "No event",
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw predicted incidences.

        Parameters
        ----------
        incidence : array-like of shape (n_causes, n_times) or (n_samples, n_causes, n_times)
            Predicted probability that the event of each cause has happened. Of several samples the
            mean is drawn.
        times : array-like of shape (n_times,)
            Times, ascending; straight lines connect the values there.
        cause_names : list of str, optional
            Names of the causes; by default Cause 1, Cause 2 and so on.
        no_event_name : str, default="No event"
            Name of the last area.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of all areas, see `matplotlib.collections.PolyCollection`.

        Returns
        -------
        CumulativeIncidenceDisplay
            The display, drawn.
        """
        times = checks.check_times(times)
        shape = "(n_causes, n_times) or (n_samples, n_causes, n_times)"
        checked = incidences.check_incidence(incidence, shape, len(times), (2, 3))
        mean = checked.mean(axis=0) if checked.ndim == 3 else checked
        incidences.check_sum(mean)
        names = _names(cause_names, len(mean))
        display = cls(mean, times, cause_names=names, no_event_name=no_event_name)
        return display.plot(ax, time_unit=time_unit, **kwargs)


def _names(given: Sequence[str] | None, n_causes: int) -> list[str]:
    """Return a name for each cause."""
    if given is None:
        return [f"Cause {number}" for number in range(1, n_causes + 1)]
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    if len(names) != n_causes:
        raise ValueError(
            f"`cause_names` must name the {n_causes} causes, got {len(names)} names. The first is "
            "that of status 1."
        )
    return names


def _colors(n_causes: int) -> list[Any]:
    """Return a colour for each cause, and that of no event."""
    import matplotlib

    if n_causes <= len(_COLORS):
        return [*_COLORS[:n_causes], _NO_EVENT]
    return [*matplotlib.colormaps["viridis"](np.linspace(0, 0.95, n_causes)), _NO_EVENT]


def _spelled_out(given: dict[str, Any]) -> dict[str, Any]:
    """Return options of areas by their long names; ``lw`` is linewidth."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import PolyCollection

    return normalize_kwargs(given, PolyCollection)


def _write_names(ax: Axes, areas: Sequence[PolyCollection], edges: Array) -> list[Annotation]:
    """Write the name of each area and its last value beside its right end, with its colour."""
    size = float(ax.yaxis.get_ticklabels()[0].get_fontsize())
    height = 72 * ax.bbox.height / ax.figure.dpi  # in points
    at = _spread((edges[:-1] + edges[1:]) / 2, _LINE * size / height)
    texts = []
    for area, value, y in zip(areas, np.diff(edges), at, strict=True):
        _draw_piece(ax, area, y, size)
        texts.append(
            ax.annotate(
                f"{area.get_label()}  {100 * value:.0f} %",
                (1, y),
                xytext=((2 * _GAP + _PIECE) * size, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                va="center",
                fontsize=size,
                annotation_clip=False,
            )
        )
    return texts


def _spread(wanted: Array, gap: float) -> Array:
    """Return ascending places near those wanted that are a gap apart, within 0 and 1."""
    places = wanted.copy()
    places[0] = max(places[0], gap / 2)
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + gap)
    places[-1] = min(places[-1], 1 - gap / 2)
    for k in range(len(places) - 2, -1, -1):
        places[k] = min(places[k], places[k + 1] - gap)
    return places


def _draw_piece(ax: Axes, area: PolyCollection, y: float, size: float) -> None:
    """Draw a square in the colour of an area, in points beside the right end of the axes."""
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import ScaledTranslation, Transform

    axes: Any = ax.transAxes
    inches: Transform = ax.figure.dpi_scale_trans + ScaledTranslation(1, y, axes)
    side = _PIECE * size / 72
    piece = Rectangle((_GAP * size / 72, -side / 2), side, side, transform=inches, clip_on=False)
    piece.set(facecolor=area.get_facecolor()[0], edgecolor="none")
    ax.add_artist(piece)
