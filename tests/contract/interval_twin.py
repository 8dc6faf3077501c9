"""What tests of bands and intervals share: a twin of what members predict, and all intervals."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import t as student

from sksurvtorch import CoxNNRegressor
from sksurvtorch.functional import cox_neg_partial_log_likelihood
from tests.contract.test_ensembles import rows_of_members


class Twin:
    """What members predict, by loops."""

    def __init__(self, model, X, y, given):
        self.model, self.X, self.y, self.given = model, X, y, given
        self.seen = rows_of_members(model, X)
        self.weight = given.get("sample_weight", np.ones(len(X)))
        self.stratum = given.get("stratum", np.zeros(len(X), int))
        self.entry = given.get("entry", np.full(len(X), -np.inf))
        self.asked = {"stratum": self.stratum[:20]} if "stratum" in given else {}
        #: Last time of the stratum of each row, and of all that are asked for.
        self.lasts = np.array([y["time"][self.stratum == own].max() for own in self.stratum])
        self.last = self.lasts[:20].min()
        self.is_cox = isinstance(model, CoxNNRegressor)
        with torch.no_grad():
            own = torch.from_numpy(X).expand(model.n_estimators, *X.shape)
            self.outputs = model._trained.members(own).double().numpy()
        if self.is_cox:
            self.outputs -= self.outputs.mean(1, keepdims=True)

    def hazard(self, k, row, time):
        """The cumulative hazard of one row at a time, by one member."""
        if not self.is_cox:
            center, spread = self.model.log_time_center_, self.model.log_time_spread_
            log_scale, log_shape = self.outputs[k, row]
            v = (np.log(time) - center) / spread
            return np.exp(np.exp(log_shape) * (v - log_scale))
        ratio = np.exp(self.outputs[k, :, 0])
        return ratio[row] * sum(jump for at, jump in self.jumps(k, self.stratum[row]) if at <= time)

    def jumps(self, k, stratum):
        """Breslow's jumps of one member."""
        if (k, stratum) not in vars(self).setdefault("_jumps", {}):
            seen = np.zeros(len(self.X), bool)
            seen[self.seen[k]] = True
            own = seen & (self.stratum == stratum)
            ratio, time = np.exp(self.outputs[k, :, 0]), self.y["time"]
            self._jumps[k, stratum] = [
                (at, self.weight[own & self.y["event"] & (time == at)].sum()
                 / (self.weight * ratio)[own & (self.entry < at) & (at <= time)].sum())
                for at in np.unique(time[own & self.y["event"]])
            ]  # fmt: skip
        return self._jumps[k, stratum]

    def variance(self, row, time):
        """The variance of the log cumulative hazard of a row at a time."""
        model = self.model
        hazards = np.array([self.hazard(k, row, time) for k in range(model.n_estimators)])
        n_divisions = model.n_estimators // 5
        share = model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
        share = share / share.sum()
        total, means = 0.0, []
        for w, five in zip(share, hazards[: 5 * n_divisions].reshape(n_divisions, 5), strict=True):
            if (five > 0).all():
                deviation = np.log(five) - np.log(five).mean()
                means.append(np.log(five).mean())
            else:
                # Relative deviations of the baseline, with those of the log hazard ratio.
                eta = self.outputs[len(means) * 5 :][:5, row, 0]
                baseline = five / np.exp(eta)
                deviation = baseline / baseline.mean() - 1 + eta - eta.mean()
                means.append(np.log(baseline.mean()) + eta.mean())
            total += w * 0.8 * (deviation**2).sum()
        total += share @ (means - share @ means) ** 2
        return total + self.common_variance(row)

    def common_variance(self, row):
        """The variance of the log cumulative hazard that all members have in common."""
        unit = 1.0 if self.is_cox else np.exp(self.mean_output()[row, 1])
        return ((1 - self.slope) * self.off_center(row)) ** 2 + unit**2 * self.missed

    @property
    def slope(self):
        return float(self.model._interval_basis["slope"][0])

    @property
    def missed(self):
        return float(self.model._interval_basis["missed"][0])

    def derivatives(self):
        """The derivatives of the log likelihood by the first output of rows left out."""
        output, y = self.out_of_bag(), self.y
        if self.is_cox:
            eta = torch.from_numpy(output[:, 0])
            columns = {"event": y["event"].copy(), "time": y["time"].copy(), "entry": self.entry}
            columns["stratum"] = np.unique(self.stratum, return_inverse=True)[1]
            columns["weight"] = self.weight
            tensors = {name: torch.from_numpy(column) for name, column in columns.items()}

            def score(eta):
                eta = eta.requires_grad_()
                loss = cox_neg_partial_log_likelihood(eta, **tensors, reduction="sum")
                return -torch.autograd.grad(loss, eta)[0].numpy()

            step = 1e-4 * torch.eye(len(eta), dtype=torch.float64)
            second = [score(eta + own)[i] - score(eta - own)[i] for i, own in enumerate(step)]
            return score(eta), -np.array(second) / 2e-4
        center, spread = self.model.log_time_center_, self.model.log_time_spread_
        log_scale, shape = output[:, 0], np.exp(output[:, 1])
        hazard = np.exp(shape * ((np.log(y["time"]) - center) / spread - log_scale))
        if "entry" in self.given:
            v = (np.log(self.entry) - center) / spread
            hazard -= np.exp(shape * (v - log_scale))
        return self.weight * shape * (hazard - y["event"]), self.weight * shape**2 * hazard

    def deviations(self, values):
        """Deviations of members' values, (n_members, n_samples), that make up their variance."""
        model = self.model
        n_divisions = model.n_estimators // 5
        share = model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
        share = share / share.sum()
        means = [values[5 * g : 5 * g + 5].mean(0) for g in range(n_divisions)]
        middle = sum(w * mean for w, mean in zip(share, means, strict=True))
        for g, w in enumerate(share):
            for own in values[5 * g : 5 * g + 5]:
                yield np.sqrt(0.8 * w) * (own - means[g])
            yield np.sqrt(w) * (means[g] - middle)

    def mean_output(self):
        return np.tensordot(self.model.member_weights_, self.outputs, 1)

    def off_center(self, row):
        """How far the log cumulative hazard of a row is from the middle, in its covariates."""
        output = self.mean_output()
        if self.is_cox:
            return output[row, 0]
        center = self.weight @ output[:, 0] / self.weight.sum()
        return np.exp(output[row, 1]) * (center - output[row, 0])

    def quantile(self, level):
        n_divisions = self.model.n_estimators // 5
        share = self.model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
        share = share / share.sum()
        return student.ppf((1 + level) / 2, 4 / (share**2).sum())

    def out_of_bag(self):
        """The output for each row by members that have not seen it, (n_samples, n_outputs)."""
        model = self.model
        n_penalties = max(1, model.n_estimators // 5)
        found = np.zeros(self.outputs.shape[1:])
        for g in range(n_penalties):
            group = [k for k in range(model.n_estimators) if k // 5 % n_penalties == g]
            weight = model.member_weights_[group].sum()
            for row in range(len(self.X)):
                by = [k for k in group if row not in self.seen[k]]
                found[row] += weight * self.outputs[by, row].mean(0)
        return found


def all_intervals(model, X, level=0.9, **where):
    """All intervals that a model has, but for that of a time."""
    return {
        "survival": (
            model.predict_survival_interval(X, level, **where),
            model.predict_survival_function(X, return_array=True, **where),
        ),
        "hazard": (
            model.predict_cumulative_hazard_interval(X, level, **where),
            model.predict_cumulative_hazard_function(X, return_array=True, **where),
        ),
        "quantile": (
            model.predict_quantile_interval(X, [0, 0.1, 0.5, 0.99, 1], level, **where),
            model.predict_quantile(X, [0, 0.1, 0.5, 0.99, 1], **where),
        ),
        "median": (
            model.predict_median_interval(X, level, **where),
            model.predict_median(X, **where),
        ),
        "risk": (model.predict_risk_interval(X, level), model.predict(X)),
    }
