"""Back ends that run a network behind one call, and the export of a torch module to ONNX. Importing this imports no torch."""

from emotion_perception.engine.inference.backends import Backend, OnnxBackend, TorchBackend
from emotion_perception.engine.inference.export import export_onnx

__all__ = ["Backend", "OnnxBackend", "TorchBackend", "export_onnx"]
