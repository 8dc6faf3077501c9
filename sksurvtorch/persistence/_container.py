"""The file: tensors and a JSON document in the safetensors format, with a checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from sksurvtorch._files import replaced
from sksurvtorch.exceptions import ModelFileError

FORMAT = "sksurvtorch"
VERSION = "2"
#: Of a file that holds the steps of a pipeline too, which version 2 would not know.
PIPELINE_VERSION = "3"
_READABLE = ("1", VERSION, PIPELINE_VERSION)
_FIELDS = {"format", "version", "document", "sha256"}


def write(
    path: Path, document: dict[str, Any], tensors: dict[str, Tensor], version: str = VERSION
) -> None:
    """Write a file, which is there as a whole or not at all."""
    text = json.dumps(document, allow_nan=False)
    # Tensors that share their memory, as tied weights do, are written one by one.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "version": version,
        "document": text,
        "sha256": _checksum(text, own),
    }
    with replaced(path) as file:
        file.write(serialise(own, metadata))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return document and tensors of a file that is whole, unaltered and of a known version."""
    if not path.is_file():
        raise FileNotFoundError(f"`path` must name a file, got {str(path)!r}.")
    content = path.read_bytes()
    try:
        tensors: dict[str, Tensor] = deserialise(content)
    except SafetensorError as error:
        raise _broken(path, f"the safetensors library says: {error}") from error
    except Exception as error:  # of a dtype or a shape that the library knows and torch does not
        raise _broken(path, f"a tensor cannot be read: {error!r}") from error
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    _check_format(path, metadata)
    if metadata.keys() != _FIELDS:
        raise _broken(path, f"its metadata are {', '.join(sorted(metadata))}")
    if _checksum(metadata["document"], tensors) != metadata["sha256"]:
        raise _broken(path, "its content does not have the checksum it was written with")
    try:
        document = json.loads(metadata["document"])
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its document is not JSON") from error
    if not isinstance(document, dict):
        raise _broken(path, "its document is not an object")
    return document, tensors


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    """Raise unless this is a file of `write`, and of a version that can be read."""
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"`path` must name a file that `sksurvtorch.save` has written, got {str(path)!r}: its "
            f"format is {metadata.get('format')!r}."
        )
    version = metadata.get("version")
    if version not in _READABLE:
        raise ModelFileError(
            f"`path` must name a file of version {', '.join(_READABLE)}, got {str(path)!r} of "
            f"version {version}. Load it with the sksurvtorch that has written it, or save it anew."
        )


def _broken(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"`path` must name a whole and unaltered file, got {str(path)!r}: {reason}. Copy it again, "
        "or save the model anew."
    )


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the document and of the tensors by name."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
