"""Mean ranks of learners over data sets, and the critical difference of two of them.

After Demšar (2006), "Statistical comparisons of classifiers over multiple data sets", Journal of
Machine Learning Research 7, https://jmlr.org/papers/v7/demsar06a.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of learners, 1 the best, and what differences of them can be told apart.

    ``p_value`` is that of Friedman's test that all learners are equal; two mean ranks differ at the
    level of 5 % by Nemenyi's test if they are further apart than ``critical``.
    """

    mean: np.ndarray
    critical: float
    p_value: float


def critical_difference(n_learners: int, n_data: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at the level of 5 %."""
    q = stats.studentized_range.ppf(0.95, n_learners, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_learners * (n_learners + 1) / (6 * n_data)))


def ranks(scores: np.ndarray, *, higher_is_better: bool) -> Ranks:
    """Rank learners, of scores of shape (n_data, n_learners); NaN, a failure, is the worst."""
    worst = -np.inf if higher_is_better else np.inf
    known = np.where(np.isnan(scores), worst, scores)
    each = stats.rankdata(-known if higher_is_better else known, axis=1)
    n_data, n_learners = scores.shape
    p_value = float(stats.friedmanchisquare(*each.T).pvalue)
    return Ranks(each.mean(axis=0), critical_difference(n_learners, n_data), p_value)


def draw(path: Path, panels: dict[str, tuple[list[str], Ranks]], ours: str) -> None:
    """Draw mean ranks, a panel each, with a band of those not told apart from ours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = [len(labels) + 2.5 for labels, _ in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(4.6, 0.21 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for ax, (title, (labels, found)) in zip(axes[:, 0], panels.items(), strict=True):
        own = found.mean[labels.index(ours)]
        ax.axvspan(own - found.critical, own + found.critical, color="0.88", zorder=0)
        for place, k in enumerate(np.argsort(found.mean, kind="stable")):
            apart = abs(found.mean[k] - own) > found.critical
            is_ours = labels[k].startswith(ours)
            ax.plot(
                *(found.mean[k], place),
                marker="X" if apart else "o",
                color="#0072b2" if is_ours else "black",
                markerfacecolor="#0072b2" if is_ours else "black" if apart else "white",
                markersize=8,
            )
            ax.text(*(found.mean[k] + 0.25, place), f"{found.mean[k]:.1f}", va="center", fontsize=9)
        order = [labels[k] for k in np.argsort(found.mean, kind="stable")]
        ax.set_yticks(range(len(order)), order, fontsize=10)
        for tick, label in zip(ax.get_yticklabels(), order, strict=True):
            tick.set_fontweight("bold" if label.startswith(ours) else "normal")
        ax.set(xlim=(0.5, len(labels) + 0.9), ylim=(len(labels) - 0.4, -0.6))
        ax.set_title(title, fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("mean rank (1: best)", fontsize=10)
    figure.savefig(path, dpi=140, pil_kwargs={"optimize": True})
    plt.close(figure)
