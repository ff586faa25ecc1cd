"""Reads the graphs of MovieGraphs: which emotions the annotators saw in whom, scene by scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_perception.engine.errors import DatasetError
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles

# Its graph names two clips, of which only the first was ever published.
_ONLY_FIRST = {("tt1568346", "scene-079.ss-0893.es-0935")}


@dataclass(frozen=True)
class SceneGraph:
    """One annotated scene.

    Attributes:
        movie: Its key at IMDb.
        clips: Names of the video clips that it consists of, in order, without ``.mp4``.
        emotions: (character, emotion) pairs in the words of MovieGraphs.
    """

    movie: str
    clips: tuple[str, ...]
    emotions: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Movie and first clip."""
        return f"{self.movie}/{self.clips[0]}"


def read_graphs(file: Path, movies: Sequence[str], skipped: list[str]) -> list[SceneGraph]:
    """Reads the scenes of some movies, in the order of the file.

    Args:
        file: The published pickle: movie -> its graph, which has one graph per scene.
        movies: Keys of the movies.
        skipped: A line is added for each movie that is not there and each scene that names no video.

    Raises:
        DatasetError: The file cannot be read or is something else.
    """
    (found,) = read_pickles(file, 1)
    if not isinstance(found, Mapping) or not all(isinstance(getattr(graph, "clip_graphs", None), Mapping) for graph in found.values()):
        raise DatasetError(f"{str(file)!r} is not the pickle of MovieGraphs: expected movies with clip_graphs")
    scenes = []
    for movie in movies:
        if movie not in found:
            skipped.append(f"{movie}: left out: {file.name} has no such movie")
            continue
        for number, graph in found[movie].clip_graphs.items():
            try:
                clips, emotions = _clips(movie, graph), tuple(_emotions(graph.G))
            except (AttributeError, KeyError, TypeError, ValueError):
                skipped.append(f"{movie}, scene {number}: left out: its graph has no video, nodes or edges where MovieGraphs has them")
                continue
            if clips:
                scenes.append(SceneGraph(movie, clips, emotions))
            else:
                skipped.append(f"{movie}, scene {number}: left out: its graph names no video")
    return scenes


def _clips(movie: str, graph: Any) -> tuple[str, ...]:
    clips = tuple(str(name).removesuffix(".mp4") for name in graph.video["fname"])
    return clips[:1] if clips and (movie, clips[0]) in _ONLY_FIRST else clips


def _emotions(graph: Any) -> Iterator[tuple[str, str]]:
    """Yields the edges from a person to an attribute of subtype ``emo``, as names; networkx 1 and 2 call their tables differently."""
    nodes, edges = (next(vars(graph)[name] for name in names if name in vars(graph)) for names in (("node", "_node"), ("adj", "_adj")))
    for source, targets in edges.items():
        if nodes[source]["type"] != "entity":
            continue
        for target in targets:
            if nodes[target]["type"] == "attribute" and nodes[target]["subtype"] == "emo":
                yield nodes[source]["name"].strip(), nodes[target]["name"].strip()
