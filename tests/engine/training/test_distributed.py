"""Several processes under torchrun give what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.training.distributed import Processes


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Processes.join(torch.device("cpu")) == Processes(0, 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shares_of_a_batch_are_the_batch(count):
    batch = np.arange(10, 17)
    shares = [Processes(rank, count).share(batch) for rank in range(count)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_two_processes_make_the_same_updates_as_one(small, tmp_path, root):
    """Without batch norm and without noise the averaged gradient of the halves is that of the batch, but for rounding."""
    conftest = Path(__file__).with_name("conftest.py")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import importlib.util, sys, numpy as np, torch
            from pathlib import Path
            spec = importlib.util.spec_from_file_location("support", {str(conftest)!r})
            support = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(support)
            from emotion_perception.engine.training.distributed import Processes
            from emotion_perception.engine.training.logs import RunLog
            run = support.Small(pictures=32)
            run.model[1] = torch.nn.Identity()
            def loss(batch, generator):
                return torch.nn.functional.cross_entropy(run.model(batch[0]), batch[1]), {{"rows": float(len(batch[0]))}}
            optimizer = torch.optim.SGD(run.model.parameters(), 0.1, momentum=0.9)
            processes = Processes.join(torch.device("cpu"))
            folder = Path(sys.argv[1]) / str(processes.count)
            log = RunLog(folder if processes.rank == 0 else None)
            history = run.trainer([run.stage(epochs=3, loss=loss, optimizer=optimizer)], folder, processes=processes, log=log).run()
            rows = processes.gather(np.full((processes.rank + 1, 2), processes.rank)).tolist()
            torch.save({{"state": run.state(), "history": history, "rows": rows}}, folder / f"rank{{processes.rank}}.pt")
        """)
    )
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in ([sys.executable], launch):
        command = [*start, str(program), str(tmp_path)]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt"))
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])
    for name, value in one["state"].items():
        torch.testing.assert_close(first["state"][name], value, rtol=1e-5, atol=1e-6)
    assert [row["rows"] for row in one["history"]] == [8.0] * 3
    assert [row["rows"] for row in first["history"]] == [4.0] * 3
    assert first["history"] == second["history"]
    assert first["rows"] == second["rows"] == [[0, 0], [1, 1], [1, 1]]
    assert one["rows"] == [[0, 0]]
    np.testing.assert_allclose([row["loss"] for row in first["history"]], [row["loss"] for row in one["history"]], rtol=1e-5)
    assert sorted(path.name for path in (tmp_path / "2").iterdir() if path.suffix == ".jsonl") == ["history.jsonl"]
