"""Validation rows for early stopping."""

from __future__ import annotations

import numpy as np
import torch

from sksurvtorch.nets.dataset import SurvivalDataset


def split(
    dataset: SurvivalDataset, validation_fraction: float, seed: int
) -> tuple[SurvivalDataset, SurvivalDataset]:
    """Return the rows to train on and those to validate with, which have their part of the events.

    Both stay in the order in which they lie: neighbours in a file are read together.
    """
    # In order of time, as the rows lie unless they lie in a file.
    order = np.arange(len(dataset)) if dataset.order is None else dataset.order
    event = dataset.event[order]
    # Each kind is split by itself: train_test_split(stratify=...) refuses small ones.
    train, valid = [], []
    for rows in (np.flatnonzero(event), np.flatnonzero(~event)):
        shuffled = np.random.default_rng(seed).permutation(rows)
        n_valid = round(validation_fraction * len(rows))
        train.append(shuffled[n_valid:])
        valid.append(shuffled[:n_valid])
    if not (len(train[0]) and len(valid[0])):
        raise ValueError(
            f"`validation_fraction` must leave an event on both sides, got "
            f"{validation_fraction} of {event.sum()} events. Set `early_stopping` to "
            "False for so few."
        )
    parts = [np.sort(order[np.concatenate(part)]) for part in (train, valid)]
    train_set, valid_set = (dataset.select(torch.from_numpy(rows)) for rows in parts)
    return train_set, valid_set
