"""A survival net that trains the members of an ensemble side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sksurvtorch.nets.ensemble import Ensemble
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.members import MemberLoader, MembersTarget
from sksurvtorch.nets.net import SurvivalNet, without_subset
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.rows.base import numbers
from sksurvtorch.nets.training import PerMember, Training


class EnsembleNet(SurvivalNet):
    """`SurvivalNet` whose network is an `Ensemble`.

    Each member has batches and a loss of its own, and takes the steps that it would take by itself:
    what is minimised is the sum of the losses, and what is recorded is their mean. The net predicts
    by the mean of the members.
    """

    #: In the training under way.
    _members: PerMember | None = None
    _in_step = False

    def _set_up(self, training: Training) -> None:
        """Take the settings of a training."""
        super()._set_up(training)
        members = training.members
        assert members is not None
        some = next(self.module_.parameters())
        self._members = PerMember(members.rows, members.l2.to(some))

    @property
    def _ensemble(self) -> Ensemble:
        network: Any = self._network
        ensemble: Ensemble = getattr(network, "_orig_mod", network)
        return ensemble

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the steps of an epoch, or the batches to validate or predict with."""
        if not training:
            return super().get_iterator(dataset)
        dataset = without_subset(dataset)
        if dataset.y is None:  # to predict as in training, with dropout
            return super().get_iterator(dataset)
        if self._members is None:  # of a training that no estimator has set up
            rows = numbers(0, len(dataset)).expand(self._ensemble.n_members, -1)
        else:
            rows = self._members.rows
        options = self.get_params_for("iterator_train")
        self.train_batches_ = MemberLoader(
            dataset,
            options.pop("batch_size", self.batch_size),
            members=rows,
            weighs=self.mean_information is not None,
            **options,
        )
        return self.train_batches_

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Take the loss of a step, in which each member has rows of its own."""
        self._in_step = True
        try:
            return super().train_step_single(batch, **fit_params)
        finally:
            self._in_step = False

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Return the mean of the members; in a step the output of each for its own rows."""
        if not self._in_step:
            return super().infer(x, **fit_params)
        own = x.unflatten(0, (self._ensemble.n_members, -1))
        return super().infer(own, **fit_params).flatten(0, 1)

    def members_iter(self, rows: Rows) -> Iterator[Tensor]:
        """Iterate over the outputs of the members, (n_members, n_rows, n_outputs), for all rows."""
        self._set_training(False)
        with torch.inference_mode():
            for X in rows.pieces(self.iterator_valid__batch_size):
                yield self._of_members(X).cpu()

    def _of_members(self, X: Tensor) -> Tensor:
        """Return the outputs of the members for the same rows."""
        output: Tensor = super().infer(X.to(self.device).expand(self._ensemble.n_members, *X.shape))
        return output

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Return the mean loss of the members, whose gradient is that of the sum of the losses."""
        if not isinstance(y_true, MembersTarget):  # of the mean prediction
            return super().get_loss(y_pred, y_true, X, training=False)
        total: Tensor = y_true.loss(self.criterion_, y_pred, self.device)
        if training and self.l2 > 0:
            l2 = self.l2 if self._members is None else self._members.l2
            penalty = 0.5 * (l2 * self._ensemble.members.squared_weights()).sum()
            if vars(self).get("_penalty", penalty) is None:
                self._penalty = penalty.detach() / self._ensemble.n_members
            total = total + penalty
        return total - (1 - 1 / self._ensemble.n_members) * total.detach()

    def _find_weights(self) -> Callable[[], Tensor]:  # type: ignore[override]
        """Return what the penalty is of, of shape (n_members,)."""
        return self._ensemble.members.squared_weights

    def _validate(self, iterator: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Return the mean loss of the members over the whole validation set."""
        self._set_training(False)
        with torch.no_grad():
            inputs = iterator.inputs() if isinstance(iterator, BatchLoader) else map(_X, iterator)
            outputs = torch.cat([self._of_members(X) for X in inputs], dim=1)
            target = iterator.dataset.target
            losses = [target.loss(self.criterion_, output, self.device) for output in outputs]
        return {"loss": torch.stack(losses).mean(), "y_pred": outputs.mean(0)}


def _X(batch: Any) -> Any:
    """Return the inputs of a batch."""
    return batch[0]
