"""Quality of service: rclpy's profiles, rmw_cyclonedds's policies."""

from __future__ import annotations

import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("rosbags")

from cyclonedds.qos import Policy

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    as_profile,
    qos_profile_sensor_data,
    to_dds,
)


def test_defaults_are_rclpys() -> None:
    profile = QoSProfile(depth=3)
    assert profile.history == HistoryPolicy.KEEP_LAST
    assert (profile.reliability, profile.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
    assert as_profile(7) == QoSProfile(depth=7)
    assert (qos_profile_sensor_data.depth, qos_profile_sensor_data.reliability) == (5, ReliabilityPolicy.BEST_EFFORT)


def test_the_values_are_those_of_rmw() -> None:
    assert [int(ReliabilityPolicy[n]) for n in ("SYSTEM_DEFAULT", "RELIABLE", "BEST_EFFORT")] == [0, 1, 2]
    assert [int(DurabilityPolicy[n]) for n in ("SYSTEM_DEFAULT", "TRANSIENT_LOCAL", "VOLATILE")] == [0, 1, 2]
    assert [int(HistoryPolicy[n]) for n in ("SYSTEM_DEFAULT", "KEEP_LAST", "KEEP_ALL")] == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{}, {"history": HistoryPolicy.KEEP_LAST}, {"depth": -1}, {"depth": 1.5}, {"depth": True}])
def test_profiles_that_say_too_little_or_nonsense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        QoSProfile(**wrong)  # type: ignore[arg-type]


def test_policies_are_those_of_rmw_cyclonedds() -> None:
    late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    policies = set(to_dds(late, "typehash=x;"))
    assert Policy.Durability.TransientLocal in policies
    assert Policy.History.KeepLast(depth=1) in policies
    assert Policy.DurabilityService(0, Policy.History.KeepLast(depth=1), -1, -1, -1) in policies
    assert Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False) in policies
    assert Policy.Userdata(b"typehash=x;") in policies
    assert Policy.Reliability.BestEffort in set(to_dds(qos_profile_sensor_data, ""))
    assert Policy.History.KeepAll in set(to_dds(QoSProfile(history=HistoryPolicy.KEEP_ALL), ""))
    assert Policy.History.KeepLast(depth=1) in set(to_dds(QoSProfile(depth=0), ""))
