"""The node for clips as a process; what it says of clips is in tests/ros2_nodes/test_clip_emotion_node.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_the_command_starts_it_and_it_says_what_is_missing(graph: Any, program: Any, root: Path, tmp_path: Path) -> None:
    node = program("node", "emotx", "--params-file", root / "config" / "emotx.yaml")
    diagnostics = graph.hear("diagnostic_msgs/msg/DiagnosticArray", "/diagnostics")
    node.says("cannot configure: emotx comes without weights; give the folder of some, or download() them")
    graph.until(lambda: graph.values(diagnostics, "/emotx").get("level") == "ERROR", node)
    values = graph.values(diagnostics, "/emotx")
    assert (values["state"], values["speech"], values["clips judged"]) == ("unconfigured", "-", "0")
    assert graph.state("/emotx") == "unconfigured"
    assert graph.set("/emotx", "weights", str(tmp_path)).successful
    assert not graph.change_state("/emotx", 1)
    node.says(f"cannot configure: {str(tmp_path)!r} has no card.json")
    assert not graph.set("/emotx", "speech_type", "tape").successful
    assert "no parameter" not in node.output  # the file that comes with the package names those there are
    assert node.end() == 0
    assert "Traceback" not in node.output
