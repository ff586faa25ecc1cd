"""Runs a torch module: in evaluation mode, without gradients, in the form that is fastest here."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference.backends import check_layout
from emotion_perception.engine.target import FloatArray

if TYPE_CHECKING:
    import torch


class TorchBackend:
    """Runs a torch module in evaluation mode, without gradients.

    Attributes:
        name: ``torch cpu`` or ``torch cuda:<index>``, and ``bf16`` where it computes in that.
        model: The module, shared with the caller: trained further, it answers with its new weights.
        bf16: Whether it computes in bfloat16.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        output_names: Sequence[str],
        device: torch.device | str = "cpu",
        deployed: Callable[[torch.nn.Module], torch.nn.Module] | None = None,
        bf16: bool = False,
    ) -> None:
        """Moves the module to the device and into evaluation mode.

        Args:
            model: The module; returns a tuple of tensors, in the order of ``output_names``, unless ``deployed`` is given.
            output_names: Names of its outputs.
            device: Where it runs.
            deployed: Makes what really runs out of the module: a copy made for speed. It is made again when the module's weights change.
            bf16: Compute in bfloat16, which has 8 bits of precision, in a copy of the module; the answers are float32 all the same.
        """
        import torch

        from emotion_perception.engine.inference.cuda_graphs import GraphCache, may_capture
        from emotion_perception.engine.precision import warn_of_slow_bfloat16

        self._device = torch.device(device)
        self._output_names = tuple(output_names)
        self._deployed = deployed
        self._runs: tuple[int, torch.nn.Module] | None = None
        self._lock = threading.Lock()
        self.model = model.to(self._device).eval()
        self.bf16 = bf16
        if bf16:
            warn_of_slow_bfloat16(self._device.type)
        self.name = f"torch {self._device}" + (" bf16" if bf16 else "")
        # Both ways launch the same: what differs is at most the order of sums, in products of 8 bits (bf16) or 11 (TF32).
        self._graphs = GraphCache(self.name, 2e-2 if bf16 else 1e-3) if may_capture(self._device) else None

    def __call__(self, *inputs: NDArray[Any]) -> dict[str, FloatArray]:
        """Runs the module; see `Backend`."""
        import torch

        check_layout(inputs)
        # Whoever trains the module between two calls leaves it in training mode, where batch norm answers by the batch.
        if any(module.training for module in self.model.modules()):
            self.model.eval()
        made, floats = self._current(), torch.bfloat16 if self.bf16 else torch.float32
        with torch.inference_mode():
            tensors = [torch.tensor(x, dtype=floats if x.dtype.kind == "f" else None, device=self._device) for x in inputs]
            if self._graphs is not None:
                return self._graphs(made, made[1], tensors, self._read)
            return self._read(made[1](*tensors))

    def _read(self, outputs: Any) -> dict[str, FloatArray]:
        """Returns what the module returned, by name."""
        if not isinstance(outputs, (tuple, list)) or len(outputs) != len(self._output_names):
            given = f"{len(outputs)} outputs" if isinstance(outputs, (tuple, list)) else describe(outputs)
            expected = f"a tuple of {len(self._output_names)}: {', '.join(self._output_names)}"
            raise WeightsError(f"the network returned {given}, expected {expected}")
        return {name: output.float().cpu().numpy() for name, output in zip(self._output_names, outputs, strict=True)}

    def _current(self) -> tuple[int, torch.nn.Module]:
        """Returns what runs, made from the module's weights as they are now, and before it their version; anew, it is another tuple."""
        import torch

        # Every change in place counts one up: an optimizer's step, loading a state. Tensors made in inference mode do not count.
        tensors = chain(self.model.parameters(), self.model.buffers())
        version = sum(0 if tensor.is_inference() else tensor._version for tensor in tensors)
        with self._lock:
            if self._runs is None or self._runs[0] != version:
                with torch.no_grad():
                    module = self.model if self._deployed is None else self._deployed(self.model)
                    if self.bf16:
                        module = copy.deepcopy(module).bfloat16()
                if self._device.type == "cpu":
                    # Channels-last weights make oneDNN keep activations in that layout: a fifth less time for a network of ESR-9's size on
                    # one core (92 -> 74 ms); converting the input as well adds nothing. Who saves such weights must make them contiguous.
                    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented, but missing in torch's overloads
                self._runs = version, module
            return self._runs
