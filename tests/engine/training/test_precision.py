"""Number formats: bfloat16 only where the machine computes in it."""

from __future__ import annotations

import pytest
import torch

from emotion_perception.engine import precision as precision_module
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.precision import autocast, has_bfloat16_units

CPU = torch.device("cpu")

@pytest.mark.parametrize(
    ("flags", "supported", "dtype"),
    [
        ({"avx2", "avx512f"}, True, torch.float32),  # oneDNN computes in bf16 there, but not in units of its own
        ({"avx2", "avx512f", "avx512_bf16"}, True, torch.bfloat16),
        ({"asimd", "bf16"}, False, torch.float32),  # a build of torch without
        (set(), True, torch.float32),  # not Linux
    ],
)
def test_the_processor_decides_by_its_units_not_by_its_speed_of_the_moment(flags, supported, dtype, monkeypatch):
    monkeypatch.setattr(precision_module, "processor_flags", lambda: flags)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    has_bfloat16_units.cache_clear()
    try:
        with autocast(CPU, "auto"):
            assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == dtype
    finally:
        has_bfloat16_units.cache_clear()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_asked_for_is_used(precision, dtype):
    with autocast(CPU, precision):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == dtype


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="precision is 'fp16', expected one of auto, fp32, bf16"):
        autocast(CPU, "fp16")


def test_a_run_in_bfloat16_learns_and_keeps_float32_weights(small):
    run = small(pictures=32)
    first = run.validate()["val_loss"]
    stage = run.stage(epochs=8, rate=lambda progress: 1.0)
    loss = stage.loss

    def in_bf16(batch, generator):
        with autocast(CPU, "bf16"):
            return loss(batch, generator)

    stage.loss = in_bf16
    run.trainer([stage]).run()
    assert run.validate()["val_loss"] < first
    assert {value.dtype for value in run.model.parameters()} == {torch.float32}
