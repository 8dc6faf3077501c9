"""Values of parameters and attributes as JSON and tensors, and back; no code either way."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Classes that are named rather than held: they are looked up in these modules of torch alone.
_NAMED: dict[str, tuple[Any, type]] = {
    "torch.optim": (torch.optim, torch.optim.Optimizer),
    "torch.nn": (nn, nn.Module),
}


#: Dtypes of arrays, which numpy has too.
_NUMBERS = {
    getattr(torch, name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
}
# How many times the size of its text an array of text may take.
_PADDED = 64
#: Dtypes of dates, which are kept as numbers of their unit.
_DATES = {f"datetime64[{unit}]" for unit in ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns"]}


class Unsaveable(TypeError):
    """The value can be kept in a file only by code."""


class Unknown(ValueError):
    """The file holds what nothing here has written."""


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON; an array goes to `tensors`, under this name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        items = [encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {kind: items}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {k: encode(item, f"{name}.{k}", tensors) for k, item in value.items()}}
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, tensors)
    if isinstance(value, (torch.device, torch.dtype)):
        return {type(value).__name__: str(value).removeprefix("torch.")}
    for place, (module, base) in _NAMED.items():
        known = getattr(module, getattr(value, "__name__", ""), None)
        if isinstance(known, type) and issubclass(known, base) and known is value:
            return {place: known.__name__}
    raise Unsaveable(f"{type(value).__module__}.{type(value).__qualname__}")


def _encode_array(value: np.ndarray, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return an array: numbers as a tensor, anything else as a list."""
    if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
        return {"array": name}
    if str(value.dtype) in _DATES:
        tensors[name] = torch.from_numpy(np.ascontiguousarray(value).view(np.int64))
        return {str(value.dtype): name}
    if value.dtype.kind in "UO" and value.ndim == 1:
        return {"object" if value.dtype.kind == "O" else "text": encode(value.tolist(), name, {})}
    raise Unsaveable(f"array of {value.dtype}")


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value that was encoded."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise Unknown(f"{value!r:.80}")
    ((kind, content),) = value.items()
    if kind in ("list", "tuple") and isinstance(content, list):
        items = (decode(item, tensors) for item in content)
        return list(items) if kind == "list" else tuple(items)
    if kind == "dict" and isinstance(content, dict):
        return {key: decode(item, tensors) for key, item in content.items()}
    if kind in ("text", "object"):
        return _decode_array(kind, decode(content, {}))
    if isinstance(content, str):
        found = _decode_name(kind, content, tensors)
        if found is not None:
            return found
    raise Unknown(f"{value!r:.80}")


def _decode_array(kind: str, items: Any) -> np.ndarray:
    """Return an array of what is no number, which has one axis."""
    if not isinstance(items, list):
        raise Unknown(f"{items!r:.80} for an array")
    if kind == "text":
        if not all(isinstance(item, str) for item in items):
            raise Unknown(f"{items!r:.80} for an array of text")
        # Padded to the length of the longest one, they could take a thousand times the file.
        lengths = [len(item) for item in items]
        if max(lengths, default=0) * len(items) <= _PADDED * (sum(lengths) + len(items)):
            return np.array(items, dtype=str)
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):  # numpy would take lists among them for further axes
        array[place] = item
    return array


def _decode_name(kind: str, content: str, tensors: dict[str, Tensor]) -> Any:
    """Return what a name stands for, or None."""
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind == "array" and content in tensors:
        if tensors[content].dtype not in _NUMBERS:
            raise Unknown(f"an array of {tensors[content].dtype}")
        return tensors[content].numpy()
    if kind in _DATES and content in tensors and tensors[content].dtype == torch.int64:
        return tensors[content].numpy().view(kind)
    if kind == "device":
        with suppress(RuntimeError):
            return torch.device(content)
    if kind == "dtype" and isinstance(getattr(torch, content, None), torch.dtype):
        return getattr(torch, content)
    if kind in _NAMED:
        module, base = _NAMED[kind]
        found = getattr(module, content, None)
        if isinstance(found, type) and issubclass(found, base):
            return found
    return None
