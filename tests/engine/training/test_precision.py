"""Number formats: bfloat16 only where the machine computes in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.precision import autocast, bfloat16_is_faster

CPU = torch.device("cpu")
# What Linux calls the units of x86 (AVX-512, AMX) and Arm processors that compute in bfloat16.
UNITS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"}


def test_a_processor_without_bfloat16_units_trains_in_float32():
    facts = Path("/proc/cpuinfo")
    if not facts.is_file():
        pytest.skip("the processor's units are read from /proc/cpuinfo, which is not here")
    if UNITS & set(facts.read_text().split()):
        pytest.skip("this processor has bfloat16 units")
    assert bfloat16_is_faster("cpu") is False
    with autocast(CPU, "auto"):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.float32


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
