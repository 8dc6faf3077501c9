"""Slow and plain twins of the likelihoods: loops over events and risk sets, after the definitions.

Kalbfleisch and Prentice (2002), chapters 4 and 5; Breslow (1974), doi:10.2307/2529620; Efron
(1977), doi:10.1080/01621459.1977.10480613; Therneau and Grambsch (2000), chapter 3 and appendix E,
for the weights.
"""

import math

import mpmath
import torch

# 60 digits leave 40 after the cancellation of the largest numbers the tests use.
MP = mpmath.mp.clone()
MP.dps = 60
# exp of more than this is beyond any float; mpmath itself would take for ever.
OVERFLOW = 10**6


def _double(numbers):
    return torch.tensor([float(x) for x in numbers], dtype=torch.float64)


def _columns(event, time, entry, stratum, weight):
    """Event, time, entry, stratum and weight as lists of exact Python numbers."""
    n = len(event)
    return (
        event.tolist(),
        time.tolist(),
        [-math.inf] * n if entry is None else entry.tolist(),
        [0] * n if stratum is None else stratum.tolist(),
        [1.0] * n if weight is None else weight.tolist(),
    )


def tied_and_at_risk(row, event, time, entry, stratum, weight):
    """The events tied with the event of `row`, and the rows at risk at its time."""
    same = [j for j in range(len(event)) if stratum[j] == stratum[row] and weight[j] > 0]
    tied = [j for j in same if event[j] and time[j] == time[row]]
    at_risk = [j for j in same if entry[j] < time[row] <= time[j]]
    return tied, at_risk


def _coefficients(row, columns, ties):
    """For each l = 0..d-1, what multiplies exp(log hazard ratio) in the denominator, by row."""
    weight = columns[4]
    tied, at_risk = tied_and_at_risk(row, *columns)
    d = len(tied)
    fractions = [step / d if ties == "efron" else 0.0 for step in range(d)]
    return [
        {j: weight[j] * (1.0 - fraction if j in tied else 1.0) for j in at_risk}
        for fraction in fractions
    ]


def cox(log_hazard_ratio, event, time, *, weight=None, reduction="mean", **options):
    """Cox loss in float64; autograd goes through it."""
    losses = cox_losses(log_hazard_ratio, event, time, weight=weight, **options)
    return reduced(losses, event, weight, reduction)


def reduced(losses, event, weight, reduction):
    """Losses of rows as they are, their sum, or their mean over the events by weight."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    weights = [1.0] * len(event) if weight is None else weight.tolist()
    return losses.sum() / math.fsum(
        w for w, is_event in zip(weights, event.tolist(), strict=True) if is_event
    )


def cox_losses(
    log_hazard_ratio, event, time, *, entry=None, stratum=None, weight=None, ties="efron"
):
    """Cox loss of each row."""
    columns = _columns(event, time, entry, stratum, weight)
    log_hazard_ratio = log_hazard_ratio.double().reshape(-1)
    losses = []
    for row, is_event in enumerate(columns[0]):
        loss = 0.0 * log_hazard_ratio[row]
        if is_event and columns[4][row] > 0:
            # No term is subtracted inside the logarithm, so nothing cancels.
            logs = [
                torch.logsumexp(log_hazard_ratio[list(c)] + _double(c.values()).log(), 0)
                for c in _coefficients(row, columns, ties)
            ]
            loss = columns[4][row] * (sum(logs) / len(logs) - log_hazard_ratio[row])
        losses.append(loss)
    return torch.stack(losses)


def cox_in_60_digits(
    log_hazard_ratio, event, time, *, entry=None, stratum=None, weight=None, ties="efron"
):
    """The summed Cox loss and its gradient, as float64 tensors rounded once."""
    columns = _columns(event, time, entry, stratum, weight)
    lhr = [MP.mpf(value) for value in log_hazard_ratio.tolist()]
    value, gradient = MP.mpf(0), [MP.mpf(0)] * len(lhr)
    for row, is_event in enumerate(columns[0]):
        own = MP.mpf(columns[4][row])
        if not is_event or own == 0:
            continue
        denominators = _coefficients(row, columns, ties)
        for coefficients in denominators:
            terms = {j: c * MP.exp(lhr[j]) for j, c in coefficients.items()}
            total = MP.fsum(terms.values())
            value += own * MP.log(total) / len(denominators)
            for j, term in terms.items():
                gradient[j] += own * term / total / len(denominators)
        value -= own * lhr[row]
        gradient[row] -= own
    return _double([value])[0], _double(gradient)


def breslow_baseline(
    log_hazard_ratio, event, time, *, entry=None, stratum=None, weight=None
) -> list[tuple[int, float, float]]:
    """Rows (stratum, time, log cumulative hazard), one for each distinct event time."""
    columns = _columns(event, time, entry, stratum, weight)
    event, time, _, stratum, weight = columns
    log_hazard_ratio = log_hazard_ratio.double().tolist()
    rows, log_total, first = [], {}, {}
    for row in range(len(event)):
        if event[row] and weight[row] > 0:
            first.setdefault((stratum[row], time[row]), row)
    for (code, at), row in sorted(first.items()):
        tied, at_risk = tied_and_at_risk(row, *columns)
        increment = math.log(math.fsum(weight[j] for j in tied)) - _log_sum_exp(
            [log_hazard_ratio[j] + math.log(weight[j]) for j in at_risk]
        )
        log_total[code] = _log_sum_exp([log_total.get(code, -math.inf), increment])
        rows.append((code, at, log_total[code]))
    return rows


def _log_sum_exp(values):
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _exp(x):
    """exp, with infinity and zero where no float can hold the result."""
    if abs(x) < OVERFLOW:
        return MP.exp(x)
    return MP.inf if x > 0 else MP.mpf(0)


def weibull_row(log_scale, log_shape, event, time, entry=0.0, weight=1.0):
    """Loss of one row and its derivatives by log scale and log shape, in 60 digits.

    With k the shape and z = k (log t - log scale): H(t) = exp(z), log h(t) = log k - log t + z,
    dH/d log scale = -k exp(z), dH/d log shape = z exp(z).
    """
    log_scale, log_shape = MP.mpf(log_scale), MP.mpf(log_shape)
    shape = MP.exp(log_shape)
    z = shape * (MP.log(time) - log_scale)
    hazard = _exp(z)
    value, by_scale, by_shape = hazard, -shape * hazard, (z * hazard if hazard else MP.mpf(0))
    if entry > 0 and MP.isfinite(hazard):
        z_entry = shape * (MP.log(entry) - log_scale)
        value -= _exp(z_entry)
        by_scale += shape * _exp(z_entry)
        by_shape -= z_entry * _exp(z_entry)
    if event:
        value -= log_shape - MP.log(time) + z
        by_scale += shape
        by_shape -= 1 + z
    return weight * value, weight * by_scale, weight * by_shape


def weibull(log_params, event, time, *, entry=None, weight=None):
    """Losses (n,) and their gradients (n, 1 or 2) by `log_params`, float64."""
    n, n_params = log_params.shape
    params = torch.cat([log_params.double(), torch.zeros(n, 2 - n_params).double()], 1)
    rows = [
        weibull_row(
            params[i, 0].item(),
            params[i, 1].item(),
            event[i].item(),
            time[i].item(),
            0.0 if entry is None else entry[i].item(),
            1.0 if weight is None else weight[i].item(),
        )
        for i in range(n)
    ]
    table = torch.stack([_double(row) for row in rows])
    return table[:, 0], table[:, 1 : 1 + n_params]
