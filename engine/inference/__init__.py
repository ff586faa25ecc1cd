"""Back ends that run a network behind one call, and the export of a torch module to ONNX. Importing this imports no torch."""

from emotion_perception.engine.inference.backends import Backend
from emotion_perception.engine.inference.export import export_onnx
from emotion_perception.engine.inference.onnx_backend import OnnxBackend
from emotion_perception.engine.inference.torch_backend import TorchBackend

__all__ = ["Backend", "OnnxBackend", "TorchBackend", "export_onnx"]
