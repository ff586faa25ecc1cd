"""``emotion-perception list``."""

from __future__ import annotations

from typing import Any

from emotion_perception.commands._common import JsonOption, default_weights, fail, print_json, print_table

EXAMPLES = ("emotion-perception list", "emotion-perception list --json")


def run(json: JsonOption = False) -> None:
    """Lists the learners: what each perceives and gives, whether weights come with it, and their licence (else the published ones')."""
    from emotion_perception.engine.cards import ModelCard
    from emotion_perception.engine.errors import UsageError, WeightsError
    from emotion_perception.engine.registry import learner_class, learner_entries, load_learner

    found: list[dict[str, Any]] = []
    broken: list[str] = []
    for name, entry in learner_entries().items():
        try:
            cls = load_learner(entry)
            folder = default_weights(cls)
            card = cls.card if folder is None else ModelCard.read(folder)
        except (UsageError, WeightsError) as error:  # one broken plugin must not hide the others
            broken.append(str(error))
            continue
        labels = card.label_set
        found.append(
            {
                "name": name,
                "title": card.title,
                "perceives": card.perceives,
                "labels": labels.name,
                "classes": list(labels.words),
                "affect": card.affect,
                "default_weights": folder is not None,
                "licence": card.licence,
            }
        )
    if json:
        print_json(found)
    elif found:
        header = ("name", "perceives", "labels", "affect", "default_weights", "licence")
        print_table([column.replace("_", " ") for column in header], [[row[column] for column in header] for row in found])
    if not found and not broken:
        learner_class("")  # says how to register one
    if broken:
        raise fail(f"{len(broken)} of {len(broken) + len(found)} learners cannot be used: {'; '.join(broken)}")
