"""The steps of a pipeline before its last one, in the format of skops, which is not run either."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from sksurvtorch.persistence._encoding import Unknown

#: Name of the tensor that holds them, which no other has.
STEPS = "steps"


def split(estimator: Any) -> tuple[Any, Pipeline | None]:
    """Return the model of a pipeline and the pipeline; the model alone where there is none."""
    if type(estimator) is Pipeline and estimator.steps:
        return estimator.steps[-1][1], estimator
    return estimator, None


def dump(pipeline: Pipeline) -> tuple[Tensor, str]:
    """Return all steps but the last one as bytes, and the name of the last one."""
    steps = Pipeline(
        [*pipeline.steps[:-1], ("model", "passthrough")],
        transform_input=pipeline.transform_input,
        memory=pipeline.memory,
        verbose=pipeline.verbose,
    )
    content = bytearray(_skops().dumps(steps))
    return torch.frombuffer(content, dtype=torch.uint8), str(pipeline.steps[-1][0])


def load(content: Tensor, name: Any, model: Any, trusted: Sequence[Any] | None) -> Pipeline:
    """Return the pipeline of these steps, with a model as the last one."""
    skops = _skops()
    if content.dtype != torch.uint8 or content.ndim != 1 or not isinstance(name, str):
        raise Unknown(f"steps of {content.dtype}, and {name!r:.80} as the name of the last one")
    raw = content.numpy().tobytes()
    try:
        _check_size(raw)
        untrusted = skops.get_untrusted_types(data=raw)
        refused = {*untrusted} - {_name(kind) for kind in trusted or ()}
        steps: Any = None if refused else skops.loads(raw, trusted=untrusted)
    except Exception as error:
        raise Unknown(f"steps that cannot be read ({type(error).__name__}: {error})") from error
    if refused:
        raise TypeError(
            f"`trusted` must name the types {', '.join(sorted(refused))} for the steps of this "
            "pipeline to be loaded. They might run code: name those that you trust, as "
            f"load(path, trusted={sorted(refused)!r})."
        )
    if type(steps) is not Pipeline or not steps.steps:
        raise Unknown(f"steps that are a {type(steps).__name__}")
    steps.steps = [*steps.steps[:-1], (name, model)]
    return steps


def _check_size(raw: bytes) -> None:
    """Raise if what is read would be larger than what is stored."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED or part.file_size > len(raw):
                raise Unknown(f"a compressed part {part.filename!r:.80}")
            if not part.filename.endswith(".npy"):
                continue
            with archive.open(part) as file:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0}
                shape, _, dtype = read.get(version, np.lib.format.read_array_header_2_0)(file)
            if math.prod(shape) * dtype.itemsize > part.file_size:
                raise Unknown(f"an array of shape {shape} in {part.file_size} bytes")


def _name(kind: Any) -> str:
    """Return the name of a type that is given as one, or by its name."""
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else str(kind)


def _skops() -> Any:
    """Return the module, which is needed for pipelines alone."""
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            "A pipeline needs the package skops to be saved or loaded. Install it by "
            'pip install "sksurvtorch[pipeline]", or save its last step, pipeline[-1].'
        ) from error
    return skops.io
