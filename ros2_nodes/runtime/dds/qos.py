"""Quality of service: rclpy's profiles, and the DDS policies that rmw_cyclonedds makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from cyclonedds.internal import dds_infinity
from cyclonedds.qos import Policy, Qos

from emotion_perception.engine.errors import UsageError

_DEFAULT_DEPTH = 10


class ReliabilityPolicy(IntEnum):
    """Whether lost samples are sent again."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2


class DurabilityPolicy(IntEnum):
    """Whether late joiners get the last samples."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2


class HistoryPolicy(IntEnum):
    """Whether all samples are kept or the last ones."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2


@dataclass
class QoSProfile:
    """Quality of service of a publisher, subscription, service or client.

    Attributes:
        history: KEEP_LAST when only the depth is given.
        depth: How many samples are kept.
        reliability: Resend or not.
        durability: Keep for late joiners or not.
        lifespan_ns: For how long a sample is worth sending; None is for ever.
    """

    history: HistoryPolicy | None = None
    depth: int | None = None
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
    lifespan_ns: int | None = None

    def __post_init__(self) -> None:
        """Checks the values and completes them as rclpy does."""
        if self.depth is None and self.history in (None, HistoryPolicy.KEEP_LAST):
            raise UsageError("a QoS profile needs a depth, or history=HistoryPolicy.KEEP_ALL")
        self.history = HistoryPolicy(HistoryPolicy.KEEP_LAST if self.history is None else self.history)
        self.depth = _DEFAULT_DEPTH if self.depth is None else self.depth
        if isinstance(self.depth, bool) or not isinstance(self.depth, int) or not 0 <= self.depth < 2**31:
            raise UsageError(f"QoS depth is {self.depth!r}, expected 0 or more samples")
        self.reliability, self.durability = ReliabilityPolicy(self.reliability), DurabilityPolicy(self.durability)


def as_profile(given: QoSProfile | int) -> QoSProfile:
    """Returns a profile as it is, and a number as the depth of a reliable, volatile one."""
    return given if isinstance(given, QoSProfile) else QoSProfile(depth=given)


def to_dds(profile: QoSProfile, user_data: str) -> Qos:
    """Returns the DDS policies of a profile.

    Args:
        profile: The profile.
        user_data: What the endpoint tells the others about itself: type hash, and the id of its service or client.
    """
    # XCDR1, or no ROS node matches; history also as durability service, from which Cyclone DDS serves late joiners.
    keep_all = profile.history == HistoryPolicy.KEEP_ALL
    history = Policy.History.KeepAll if keep_all else Policy.History.KeepLast(depth=profile.depth or 1)
    policies = [
        history,
        Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
        Policy.WriterDataLifecycle(autodispose=False),
        Policy.Userdata(user_data.encode()),
    ]
    if profile.reliability == ReliabilityPolicy.BEST_EFFORT:
        policies.append(Policy.Reliability.BestEffort)
    else:
        policies.append(Policy.Reliability.Reliable(max_blocking_time=dds_infinity))
    if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        policies.append(Policy.Durability.TransientLocal)
        policies.append(Policy.DurabilityService(0, history, -1, -1, -1))
    else:
        policies.append(Policy.Durability.Volatile)
    if profile.lifespan_ns is not None:
        policies.append(Policy.Lifespan(profile.lifespan_ns))
    return Qos(*policies)


qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_rosout = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan_ns=10_000_000_000)
qos_profile_clock = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_discovery = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
