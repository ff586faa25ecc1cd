"""Writes graphs as the published pickle has them, for `write_synthetic`."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from emotion_perception.learners.emotx.moviegraphs.synthetic import MadeScene

_T = TypeVar("_T")
# The published pickle names classes of these modules, which need not be installed to write or read it.
_MODULES = {"MovieGraph": "GraphClasses", "ClipGraph": "GraphClasses", "DiGraph": "networkx.classes.digraph"}
# Words of MovieGraphs by Emotic's class, as far as they are among the 25 most frequent; the published file has 181 words.
_GROUPS = {
    "Affection": ["friendly"],
    "Anger": ["angry"],
    "Annoyance": ["annoyed"],
    "Confidence": ["confident"],
    "Disquietment": ["worried", "nervous", "alarmed"],
    "Doubt/Conf": ["confused"],
    "Engagement": ["curious", "serious"],
    "Excitement": ["excited"],
    "Fear": ["scared"],
    "Happiness": ["cheerful", "happy", "amused"],
    "Peace": ["calm", "quiet"],
    "Sadness": ["sad", "upset"],
    "Surprise": ["surprise", "shocked"],
    "Yearning": ["determined"],
}


class MovieGraph:
    """Stands in for the published class of this name; so do the others."""


class ClipGraph:
    """One scene."""


class DiGraph:
    """Of networkx 1."""


def emotic_groups() -> dict[str, list[str]]:
    """Returns the content of a mapping file: all of Emotic's classes, most of which the synthetic words do not reach."""
    from emotion_perception.engine.labels import EMOTIC26

    return {word: _GROUPS.get(word, []) for word in EMOTIC26.words}


def write_graphs(file: Path, movies: Mapping[str, Sequence[MadeScene]]) -> None:
    """Writes the graphs of all scenes by movie."""
    content = pickle.dumps({movie: _movie(movie, scenes) for movie, scenes in movies.items()}, protocol=2)
    for name, module in _MODULES.items():
        content = content.replace(f"c{__name__}\n{name}\n".encode(), f"c{module}\n{name}\n".encode())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _movie(movie: str, scenes: Sequence[MadeScene]) -> MovieGraph:
    people = sorted({name for scene in scenes for name, _ in scene.emotions})
    castlist = [{"chid": f"ch{number:03d}", "name": name} for number, name in enumerate(people)]
    graphs = OrderedDict((number, _clip(scene, people)) for number, scene in enumerate(scenes, 1))
    return _with(MovieGraph(), imdb_key=movie, castlist=castlist, clip_graphs=graphs)


def _clip(scene: MadeScene, people: Sequence[str]) -> ClipGraph:
    numbers = [int(clip.split(".")[0].removeprefix("scene-")) for clip in scene.clips]
    shots = [int(part[3:]) for clip in scene.clips for part in clip.split(".")[1:]]
    video = {"movie": scene.movie, "fname": [f"{clip}.mp4" for clip in scene.clips], "scene": numbers, "ss": min(shots), "es": max(shots)}
    return _with(ClipGraph(), situation="talk", scene_label="room", description="They talk.", video=video, G=_graph(scene, people))


def _graph(scene: MadeScene, people: Sequence[str]) -> DiGraph:
    """Makes the graph: a node per person and per attribute of one, among them some that are no emotions."""
    nodes: dict[int, dict[str, Any]] = {-1: {"name": "talk", "origtext": "talk", "type": "situation", "pos": (0, 0)}}
    edges: dict[int, dict[int, dict[str, Any]]] = {-1: {}}

    def add(**node: Any) -> int:
        number = len(nodes)
        nodes[number], edges[number] = {"pos": (10 * number, 10), **node}, {}
        return number

    for person in dict.fromkeys(name for name, _ in scene.emotions):
        own = add(name=person, origtext=person, type="entity", node_id=people.index(person), chid=f"ch{people.index(person):03d}")
        attributes = [("age", "adult"), *(("emo", word) for name, word in scene.emotions if name == person)]
        for subtype, word in attributes:
            edges[own][add(name=word, subtype=subtype, origtext=f"{subtype}:{word}", type="attribute")] = {}
    backwards: dict[int, dict[int, dict[str, Any]]] = {number: {} for number in nodes}
    for source, targets in edges.items():
        for target, facts in targets.items():
            backwards[target][source] = facts
    kinds = {"node_dict_factory": dict, "adjlist_dict_factory": dict, "edge_attr_dict_factory": dict}
    return _with(DiGraph(), **kinds, graph={}, node=nodes, adj=edges, pred=backwards, succ=edges, edge=edges)


def _with(made: _T, **attributes: Any) -> _T:
    vars(made).update(attributes)
    return made
