"""Audits of learners by groups of people: who is judged worse, by how much, and how sure that is."""

from emotion_perception.engine.evaluation.fairness.auditing import audit
from emotion_perception.engine.evaluation.fairness.groups import read_groups
from emotion_perception.engine.evaluation.fairness.limits import Limit

__all__ = ["Limit", "audit", "read_groups"]
