"""Save and load fitted estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sksurvtorch import _validation as validation
from sksurvtorch._files import PathLike, as_path
from sksurvtorch.estimators import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.estimators._parameters import PREFIXES
from sksurvtorch.estimators._state import Fitted, from_state, get_state, is_learned
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.persistence import _container as container
from sksurvtorch.persistence import _steps as steps
from sksurvtorch.persistence._encoding import Unknown, Unsaveable, decode, encode
from sksurvtorch.persistence._learned import check_learned, is_finite, is_whole
from sksurvtorch.persistence._versions import upgrade

Estimator = (
    CompetingRisksNNRegressor
    | CoxNNRegressor
    | LogLogisticAFTRegressor
    | LogNormalAFTRegressor
    | WeibullAFTRegressor
)
KINDS: dict[str, type[Estimator]] = {
    kind.__name__: kind
    for kind in (
        CompetingRisksNNRegressor,
        CoxNNRegressor,
        LogLogisticAFTRegressor,
        LogNormalAFTRegressor,
        WeibullAFTRegressor,
    )
}

# Weights stand apart from what else is a tensor.
_WEIGHTS = "weights."
_DOCUMENT = {"class", "absent", *(field.name for field in fields(Fitted))} - {"weights"}
# The type of each other part.
_DECODED: dict[str, type] = {
    "learned": dict,
    "history": list,
    "batch_size": int,
    "l2": float,
    "device": torch.device,
}
# Stands for a parameter that is to be given again.
_ABSENT = {"absent": True}


def save(estimator: Estimator | Pipeline, path: PathLike) -> None:
    """Write a fitted estimator, or a pipeline that ends with one, to a file that holds no code.

    The file has the parameters, the weights of the network, what else the fit has learned, and the
    losses of its epochs; it has neither training data nor what only a further training needs: the
    state of the optimizer, the bank of the momentum mode, the losses of single batches.

    Parameters
    ----------
    estimator : estimator of this package, or sklearn.pipeline.Pipeline
        Fitted estimator, or pipeline whose last step is one; the steps before it need the package
        skops.
    path : str, bytes or path-like
        File to write, such as ``"model.safetensors"``. One that exists is replaced as a whole or
        not at all, and keeps its permissions; behind a symbolic link it is the link's target.

    Raises
    ------
    ImportError
        If `estimator` is a pipeline, and skops is missing.
    TypeError
        If `estimator` is of another class, or holds what a file without code cannot.
    OSError
        If the file cannot be written, as on a full disk.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    See Also
    --------
    load : Read the file.

    Notes
    -----
    The file is in the safetensors format with a JSON document in its metadata. Parameters that are
    code or objects, such as a `module` or `callbacks`, are not written, and are to be given again
    to `load`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sksurv.datasets import load_whas500
    >>> from sksurvtorch import CoxNNRegressor, load, save
    >>> X, y = load_whas500()
    >>> model = CoxNNRegressor(max_epochs=5, random_state=0).fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     save(model, Path(folder, "model.safetensors"))
    ...     loaded = load(Path(folder, "model.safetensors"))
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    model, pipeline = steps.split(estimator)
    kind = KINDS.get(type(model).__name__)
    if kind is None or type(model) is not kind:
        ends = "a Pipeline that ends with " if pipeline is not None else ""
        raise TypeError(
            f"`estimator` must be a {' or '.join(KINDS)}, or a Pipeline that ends with one, got "
            f"{ends}{type(model).__name__}."
        )
    check_is_fitted(model, "net_")
    state = get_state(model)
    tensors: dict[str, torch.Tensor] = {}
    absent: dict[str, str] = {}
    document: dict[str, Any] = {"class": kind.__name__, "absent": absent}
    for part in ("parameters", "made_with"):
        document[part] = _parameters(part, getattr(state, part), absent, tensors)
    for part in _DECODED:
        document[part] = _encoded(part, getattr(state, part), tensors)
    for name, weight in state.weights.items():
        if not isinstance(weight, torch.Tensor):
            raise TypeError(
                "The state of `module` must be of tensors to be saved, got "
                f"{type(weight).__name__} for {name!r}."
            )
        tensors[_WEIGHTS + name] = weight
    version = container.VERSION
    if pipeline is not None:
        tensors[steps.STEPS], document["name"] = steps.dump(pipeline)
        version = container.PIPELINE_VERSION
    container.write(as_path(path), document, tensors, version)


def load(
    path: PathLike, *, device: Any = None, trusted: Sequence[Any] | None = None, **parameters: Any
) -> Any:
    """Read a fitted estimator or pipeline that `save` has written.

    Nothing in the file is run. It predicts what the saved one did: the same to the bit on the same
    kind of machine, to rounding on another device.

    Parameters
    ----------
    path : str or path-like
        File to read.
    device : str or torch.device, optional
        Where to compute from now on. If left out, it is the device of the fit where there is such a
        one, and the CPU elsewhere; the parameter `device` then stays what it was.
    trusted : sequence of str or type, optional
        Types in the steps of a pipeline that are to be loaded beside those that skops trusts
        already, such as ``"numpy.dtype"``. An error names those that are missing.
    **parameters
        The parameters that are not in the file, each under its name, such as ``module=`` a class or
        instance of the network that was trained. Its weights come from the file.

    Returns
    -------
    estimator of this package, or sklearn.pipeline.Pipeline
        Fitted estimator, or pipeline that ends with one. Training can go on, with a new optimizer
        and an empty bank.

    Raises
    ------
    ModelFileError
        If the file is cut short, altered, of a later version or not one of `save`, or if the
        weights do not fit `module`.
    ImportError
        If it is a pipeline, and skops is missing.
    TypeError
        If a parameter is missing or is in the file, or a type is not trusted.

    Warnings
    --------
    The checksum of a file tells accidents, not forgeries. A forged file cannot run code, nor have
    more memory taken than a small multiple of its size, but it can predict anything.

    See Also
    --------
    save : Write the file, with an example.
    """
    path = as_path(path)
    document, tensors = container.read(path)
    before = tensors.pop(steps.STEPS, None)
    name = None if before is None else document.pop("name", None)
    try:
        _check_document(document)
        _check_given(document["absent"], parameters)
        kind, state = _state(document, tensors, parameters)
    except (Unknown, RecursionError) as error:
        raise _foreign(path, error) from error
    state.device = _device(state.device, device)
    if device is not None:
        state.parameters["device"] = state.made_with["device"] = device
    try:
        model = from_state(kind, state)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        # Whatever it is: what comes from the file has not made a network.
        rule = "`path` must name a file that `sksurvtorch.save` has written"
        if state.made_with.get("module") is not None:
            rule = "`module` must be the network that was saved"
        raise ModelFileError(
            f"{rule}. {type(error).__name__} for {str(path)!r}: {error}"
        ) from error
    if before is None:
        return model
    try:
        return steps.load(before, name, model, trusted)
    except Unknown as error:
        raise _foreign(path, error) from error


def _foreign(path: Any, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"`path` must name a file that `sksurvtorch.save` has written, got {str(path)!r} with "
        f"{str(error)[:200]}."
    )


def _encoded(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a value as JSON, or say which one cannot be."""
    try:
        return encode(value, name, tensors)
    except Unsaveable as error:
        raise TypeError(
            f"`{name}` must be numbers, text or arrays of them to be saved, got {error}."
        ) from error


def _parameters(
    part: str, values: dict[str, Any], absent: dict[str, str], tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Return parameters as JSON, and note those that cannot be."""
    encoded: dict[str, Any] = {}
    for name, value in values.items():
        try:
            encoded[name] = encode(value, f"{part}.{name}", tensors)
        except Unsaveable:
            encoded[name] = _ABSENT
            absent[name] = f"{value!r:.200}"
    return encoded


def _check_given(absent: dict[str, str], given: dict[str, Any]) -> None:
    """Raise unless the parameters that a file does not hold are given, and no others."""
    for name, value in absent.items():
        if name not in given:
            raise TypeError(
                f"`{name}` must be given to load this model, which had {value}: a file holds no "
                f"code. Call load(path, {name}=...)."
            )
    for name in given.keys() - absent.keys():
        raise TypeError(
            f"`{name}` must be left out, got {given[name]!r:.200}: the file holds all but "
            f"{', '.join(absent) or 'nothing'}. Call `set_params` after loading."
        )


def _check_document(document: dict[str, Any]) -> None:
    """Raise unless a document has the parts that `save` writes."""
    if document.keys() != _DOCUMENT:
        raise Unknown(f"the parts {', '.join(sorted(document))}")
    if document["class"] not in [*KINDS]:
        raise Unknown(f"the class {document['class']!r:.80}")
    for part in ("absent", "parameters", "made_with"):
        if not isinstance(document[part], dict):
            raise Unknown(f"{document[part]!r:.80} for {part}")
    missing = {
        name
        for part in ("parameters", "made_with")
        for name, value in document[part].items()
        if value == _ABSENT
    }
    absent = document["absent"]
    if missing != absent.keys() or not all(isinstance(what, str) for what in absent.values()):
        raise Unknown(f"{absent!r:.80} for absent")


def _state(
    document: dict[str, Any], tensors: dict[str, torch.Tensor], given: dict[str, Any]
) -> tuple[type[Estimator], Fitted]:
    """Return class and state from a document, or raise where it is not one of `save`."""
    kind = KINDS[document["class"]]
    parts: dict[str, Any] = {"parameters": {}, "made_with": {}}
    known = kind().get_params()
    for part, values in parts.items():
        for name, value in document[part].items():
            if name not in known and not name.startswith(PREFIXES):
                raise Unknown(f"a parameter {name!r}")
            values[name] = given[name] if value == _ABSENT else decode(value, tensors)
    for part, expected in _DECODED.items():
        parts[part] = decode(document[part], tensors)
        if not isinstance(parts[part], expected):
            raise Unknown(f"{document[part]!r:.80} for {part}")
    if not (is_whole(parts["batch_size"], 1) and is_finite(parts["l2"], 0.0)):
        raise Unknown(f"a batch size of {parts['batch_size']!r:.80} and {parts['l2']!r:.80} as l2")
    parts["learned"] = upgrade(parts["learned"])
    if not is_learned(kind, set(parts["learned"])):
        raise Unknown(f"the attributes {', '.join(sorted(parts['learned']))}")
    check_learned(parts["learned"])
    if ("n_features_in_" in parts["learned"]) != (parts["made_with"].get("module") is None):
        raise Unknown("samples of another shape than the network takes")
    if not all(isinstance(epoch, dict) and "batches" not in epoch for epoch in parts["history"]):
        raise Unknown(f"the history {parts['history']!r:.80}")
    weights = {k.removeprefix(_WEIGHTS): v for k, v in tensors.items() if k.startswith(_WEIGHTS)}
    return kind, Fitted(**parts, weights=weights)


def _device(saved: torch.device, asked: Any) -> torch.device:
    """Return where to compute: as asked, or where the model was fitted, or on the CPU."""
    if asked is not None:
        return validation.resolve_device(asked)
    try:
        return validation.resolve_device(saved)
    except ValueError:
        return torch.device("cpu")
