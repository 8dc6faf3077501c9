"""Integer keys that put rows in the order of the risk sets, and the fastest sort at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from sksurvtorch._validation import comparable
from sksurvtorch.functional._arithmetic import widest

# From so many integers on torch sorts by radix, where it was built with FBGEMM.
_TORCH_RADIX = 2**15
# From so many on numpy's radix sort, of 16 bits at a time, wins over its comparing one.
_NUMPY_RADIX = 2**11


def sort(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return integers in ascending order, and the places they had; equal ones keep their order."""
    if x.device.type == "cpu":
        if x.numel() < _TORCH_RADIX or not _has_torch_radix():
            order = _order_by_numpy(x)
            return x.index_select(0, order), order
        lowest, highest = x.aminmax()
        if int(highest) < 2**31 and int(lowest) >= -(2**31):  # fewer passes
            values, order = x.int().sort(stable=True)
            return values.long(), order
    values, order = x.sort(stable=True)
    return values, order


def _has_torch_radix() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def _order_by_numpy(x: Tensor) -> Tensor:
    """Sort on the CPU; small or large, this is faster than torch's own comparing sort."""
    if x.numel() < _NUMPY_RADIX:
        return torch.from_numpy(x.numpy().argsort(kind="stable"))
    lowest, highest = (int(bound) for bound in x.aminmax())
    if highest - lowest >= 2**63:
        return torch.from_numpy(x.numpy().argsort(kind="stable"))
    # Stable passes from the lowest 16 bits to the highest; numpy has radix sort for these only.
    digits = x - lowest
    order: Tensor | None = None
    for shift in range(0, max(1, (highest - lowest).bit_length()), 16):
        # The cast keeps the lowest 16 bits; with the highest of them flipped they sort as signed.
        digit = ((digits >> shift if shift else digits) ^ 0x8000).to(torch.int16)
        if order is not None:
            digit = digit.index_select(0, order)
        step = torch.from_numpy(digit.numpy().argsort(kind="stable"))
        order = step if order is None else order.index_select(0, step)
    assert order is not None
    return order


def in_order(x: Tensor, order: Tensor | None) -> Tensor:
    """Return the elements of x in an order; None stands for that in which they lie."""
    return x if order is None else x.index_select(0, order)


def nonzero(x: Tensor) -> Tensor:
    """Return the places of what is True; by numpy on the CPU, where it is faster."""
    if x.device.type != "cpu":
        return x.nonzero().squeeze(1)
    return torch.from_numpy(x.numpy().nonzero()[0])


def ascends(x: Tensor) -> bool:
    """Whether no element is less than the one before."""
    head = x[:64]  # tells most of the time
    return not (bool((head[1:] < head[:-1]).any()) or bool((x[1:] < x[:-1]).any()))


def keys(
    event: Tensor, time: Tensor, entry: Tensor | None, stratum: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return integer keys that sort the rows, and the keys at which they end.

    Times become levels, integers in their order. A row has the key event - 2 level, so the latest
    time comes first, and the censored of a time before its events; it ends at the first key of the
    last level that is not after its entry. The keys of a stratum lie behind those of another.
    """
    time, before = _whole(time), None
    if entry is not None:
        if entry.is_floating_point() and not time.is_floating_point():
            # A whole number is above x if it is above the largest whole number up to x.
            entry = entry.to(widest(entry.device)).floor().clamp(min=-(2.0**63)).long()
        time, entry = comparable(time, entry)
        before = _ordinals(entry)
    ordinal = _ordinals(time)
    low, high = (int(bound) for bound in ordinal.aminmax())
    codes = None if stratum is None else codes_of(stratum)
    n_strata = 1 if codes is None else int(codes.max()) + 1
    if 2 * n_strata * (high - low + 2) < 2**63:
        n_levels = high - low + 1
        level = ordinal - low
        del ordinal
        if before is not None:
            before = before.clamp(min=low - 1) - low
    else:  # too far apart for a key
        level, ordinals = _ranks(ordinal)
        n_levels = len(ordinals)
        if before is not None:
            before = torch.searchsorted(ordinals, before, right=True) - 1
    key = torch.add(event, level, alpha=-2)
    stop = None if before is None else -2 * before
    if codes is None:
        return key, stop
    shift = codes * (2 * (n_levels + 1))
    return key + shift, shift + 2 if stop is None else shift + stop


def _whole(time: Tensor) -> Tensor:
    """Return times that are whole numbers as integers: such keys are short and sort faster."""
    if time.is_floating_point() and time.device.type == "cpu":
        lowest, highest = (bound.item() for bound in time.aminmax())
        if lowest > -(2**31) and highest < 2**31:
            whole = time.long()
            if torch.equal(whole.to(time.dtype), time):
                return whole
    return time


def _ordinals(x: Tensor) -> Tensor:
    """Return integers in the order of the values: the bits of floating-point numbers."""
    if not x.is_floating_point():
        return x.long()
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    bits = (x + 0.0).view(kind)  # -0.0 becomes 0.0
    if int(bits.min()) < 0:  # the bits of a negative number grow with its magnitude
        bits = torch.where(bits < 0, bits ^ torch.iinfo(kind).max, bits)
    return bits.long()


def ranks(time: Tensor) -> Tensor:
    """Return the rank of each time among the distinct times, from 0 on."""
    return _ranks(_ordinals(time))[0]


def _ranks(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rank of each value among the distinct values, from 0 on, and these values."""
    in_order, ascending = sort(x)
    is_new = torch.ones_like(in_order, dtype=torch.bool)
    is_new[1:] = in_order[1:] != in_order[:-1]
    rank = torch.empty_like(ascending).index_copy_(0, ascending, is_new.cumsum(0) - 1)
    return rank, in_order.masked_select(is_new)


def codes_of(stratum: Tensor) -> Tensor:
    """Return codes of the strata that count from 0 with few gaps."""
    lowest, highest = int(stratum.min()), int(stratum.max())
    if highest - lowest <= 2 * len(stratum):
        return stratum - lowest
    codes: Tensor = stratum.unique(return_inverse=True)[1]
    return codes
