"""The network of an estimator for programs without torch."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sksurvtorch._files import PathLike, is_there, replaced
from sksurvtorch.estimators import CompetingRisksNNRegressor
from sksurvtorch.estimators._aft import AFTRegressor
from sksurvtorch.persistence.model import KINDS, Estimator

_NEEDS = ("onnx", "onnxscript")
# A file of ONNX is less than 2 GiB, with some room for all but the weights.
_MOST_BYTES = 2**31 - 2**24


def export_onnx(estimator: Estimator, path: PathLike) -> None:
    r"""Write the network of a fitted estimator as an ONNX file.

    Its input ``X`` has the shape (n_samples, n_features), or that of the samples of the fit, and
    the dtype of the network; several inputs are flattened and side by side, in the order of
    `input_shape_`. Its outputs have the shape (n_samples,): of a Cox model
    ``log_hazard_ratio``, which is what `predict` gives; of an accelerated failure time model
    ``log_scale`` and ``log_shape``, in the unit of the training times. Of competing risks
    ``log_hazard_ratio`` has the shape (n_samples, n_causes).

    Parameters
    ----------
    estimator : estimator of this package
        Fitted estimator.
    path : str or path-like
        File to write, such as ``"model.onnx"``. One that exists is replaced.

    Raises
    ------
    ImportError
        If a package of the extra ``onnx`` is missing.
    TypeError
        If `estimator` is of another class.
    ValueError
        If `module` cannot be exported, or for one number of samples only, or if the weights take
        2 GiB.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Notes
    -----
    Survival follows from the outputs: :math:`\exp(-H_0(t) \exp(\eta))` with the log hazard ratio
    :math:`\eta` and :math:`H_0` the exponential of `log_baseline_cumulative_hazard_`. With
    :math:`z = \text{shape} \log(t / \text{scale})` it is :math:`\exp(-\exp(z))` of a Weibull model,
    :math:`\Phi(-z)` of a log-normal and :math:`1 / (1 + \exp(z))` of a log-logistic one; the
    metadata of the file have the ``distribution``. The baseline hazard is not in the file, and what
    comes before the estimator in a pipeline is not either.
    """
    if not isinstance(estimator, tuple(KINDS.values())):
        raise TypeError(
            f"`estimator` must be one of {', '.join(KINDS)}, got "
            f"{type(estimator).__name__}. Of a pipeline export the last step, pipeline[-1]."
        )
    check_is_fitted(estimator, "net_")
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"`export_onnx` needs {' and '.join(missing)}. Install them by "
            'pip install "sksurvtorch[onnx]".'
        )
    is_there(path)  # before what takes seconds
    _check_size(estimator._trained)
    outputs = _outputs(estimator).eval()
    dtype = next((w.dtype for w in outputs.network.parameters() if w.is_floating_point()), None)
    # One sample or two could be taken for a fixed number of them.
    example = torch.zeros((3, *estimator._sample_shape), dtype=dtype, device="cpu")
    program = _recorded(outputs, example)
    taken = program.model.graph.inputs[0].shape
    if taken is not None and isinstance(taken[0], int):
        raise ValueError(
            "`module` must take any number of samples to be exported, got one that takes "
            f"{len(example)} when it is called with so many. Use X.shape[0] in place of len(X), "
            "and no branch on it."
        )
    if isinstance(estimator, AFTRegressor):  # what the parameters are those of
        program.model.metadata_props["distribution"] = estimator._distribution
    with replaced(path) as file:
        file.write(program.model_proto.SerializeToString())


def _recorded(
    outputs: _LogHazardRatios | _ScaleAndShape, example: Tensor
) -> torch.onnx.ONNXProgram:
    """Return a network as torch exports it."""
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                outputs,
                (example,),
                input_names=["X"],
                output_names=list(outputs.names),
                dynamic_shapes=({0: torch.export.Dim("n_samples")},),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            "`module` must be a network that torch.onnx.export takes, got one that it does not: "
            f"{error.__cause__ or error}. Leave out branches on the values of X."
        ) from error
    assert program is not None
    return program


def _check_size(network: nn.Module) -> None:
    """Raise if a file of ONNX cannot hold the weights."""
    n_bytes = sum(weight.nbytes for weight in (*network.parameters(), *network.buffers()))
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"`estimator` must have weights of at most {_MOST_BYTES / 2**30:.2f} GiB for one file "
            f"of ONNX, got {n_bytes / 2**30:.2f} GiB. Make layers smaller, or use `save`, whose "
            "files have no such limit."
        )


def _outputs(estimator: Estimator) -> _LogHazardRatios | _ScaleAndShape:
    """Return the network that predicts, on the CPU, with outputs in the units of the data."""
    network = deepcopy(estimator._trained).cpu().eval()
    if isinstance(estimator, AFTRegressor):
        return _ScaleAndShape(network, estimator.log_time_center_, estimator.log_time_spread_)
    several = isinstance(estimator, CompetingRisksNNRegressor)
    shape = (-1, estimator.n_causes_) if several else (-1,)
    return _LogHazardRatios(network, shape)


class _LogHazardRatios(nn.Module):
    """The log hazard ratio, of shape (n_samples,), or those of all causes."""

    names = ("log_hazard_ratio",)

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, X: Tensor) -> Tensor:
        """Return the output of the network."""
        output: Tensor = self.network(X)
        return output.reshape(self.shape)


class _ScaleAndShape(nn.Module):
    """Log scale and log shape, each of shape (n_samples,), from those of standardised times."""

    names = ("log_scale", "log_shape")
    center: Tensor
    spread: Tensor
    log_spread: Tensor

    def __init__(self, network: nn.Module, center: float, spread: float) -> None:
        super().__init__()
        self.network = network
        dtype = next(network.parameters()).dtype
        # Buffers: numbers of Python would be rounded to float32.
        for name, value in {
            "center": center,
            "spread": spread,
            "log_spread": math.log(spread),
        }.items():
            self.register_buffer(name, torch.tensor(value, dtype=dtype, device="cpu"))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return both outputs in the unit of the training times."""
        log_scale, log_shape = self.network(X).unbind(1)
        return self.center + self.spread * log_scale, log_shape - self.log_spread


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's exporter from telling of packages that it would support, and of its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
