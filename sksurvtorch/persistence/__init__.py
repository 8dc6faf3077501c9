"""Models in files that hold no code, and networks for other programs."""

from sksurvtorch.persistence.model import load, save
from sksurvtorch.persistence.onnx import export_onnx

__all__ = ["export_onnx", "load", "save"]
