"""Rows of WHAS500 that the displays are drawn of, and readers of what was drawn."""

import numpy as np
from sksurv.datasets import load_whas500

from sksurvtorch.nets import competing_risks_y

X, Y = load_whas500()
X = X[["age", "bmi", "hr", "sysbp"]].astype(float)
EVENT, TIME = Y["fstat"], Y["lenfol"]
ENTRY = np.where(np.arange(len(Y)) % 3 == 0, np.minimum(TIME / 2, 100), 0)
# Two causes of death.
STATUS = np.where(EVENT, np.where(TIME % 3 == 0, 2, 1), 0)
Y_CAUSES = competing_risks_y(STATUS, TIME)
TRAIN, TEST = slice(0, None, 2), slice(1, None, 2)


def edges(band):
    """Return the points of a band as a set."""
    return {tuple(point) for point in band.get_paths()[0].vertices.round(9).tolist()}


def texts_of_legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]
