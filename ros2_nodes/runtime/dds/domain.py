"""The DDS domain: which one the environment names, how its participants find each other, and how to join it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from cyclonedds.core import DDSException
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.pub import Publisher
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import Subscriber

from emotion_perception.engine.errors import UsageError
from emotion_perception.ros2_nodes.runtime.dds.logging import get_logger
from emotion_perception.ros2_nodes.runtime.dds.wire import delete

MAX_DOMAIN_ID = 232  # above it, the port numbers would not fit into 16 bits
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
# The default loses a third of the frames of a best-effort 720p camera. Only `max`: an impossible `min` refuses to start.
_BUFFERS = '<Internal><SocketReceiveBufferSize max="64MB"/></Internal>'
_STDERR = 2
_HEAD = re.compile(r"^[0-9.]+ \[\d+\]\s+[^:]{1,16}: ")  # time, domain, thread


@dataclass(frozen=True)
class DomainSettings:
    """What the environment says.

    Attributes:
        domain_id: ROS_DOMAIN_ID.
        config: Configuration of Cyclone DDS: fragments of XML, or addresses of files, with commas between them.
    """

    domain_id: int
    config: str

    @classmethod
    def from_environment(cls, domain_id: int | None = None, environment: Mapping[str, str] = os.environ) -> DomainSettings:
        """Reads the variables that rmw_cyclonedds reads.

        Args:
            domain_id: Instead of ROS_DOMAIN_ID.
            environment: The variables.

        Raises:
            UsageError: A variable has a value that ROS does not know.
        """
        text = environment.get("ROS_DOMAIN_ID") or "0"
        given = text if domain_id is None else str(domain_id)
        if not (given.isascii() and given.isdigit() and int(given) <= MAX_DOMAIN_ID):
            name = "ROS_DOMAIN_ID" if domain_id is None else "domain_id"
            raise UsageError(f"{name} is {given!r}, expected a number from 0 to {MAX_DOMAIN_ID}")
        own = f"<CycloneDDS><Domain>{_BUFFERS}{_discovery(environment)}</Domain></CycloneDDS>"
        theirs = environment.get("CYCLONEDDS_URI", "")
        return cls(int(given), f"{own},{theirs}" if theirs else own)


def _discovery(environment: Mapping[str, str]) -> str:
    """Returns the XML for a range of discovery, as rmw_cyclonedds writes it."""
    span = (environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET").upper()
    if span not in _RANGES:
        raise UsageError(f"ROS_AUTOMATIC_DISCOVERY_RANGE is {span!r}, expected one of {', '.join(_RANGES)}")
    if environment.get("ROS_LOCALHOST_ONLY", "0") == "1":
        span = "LOCALHOST"
    peers = [peer.strip() for peer in environment.get("ROS_STATIC_PEERS", "").split(";") if peer.strip()]
    if span == "OFF":
        return (
            "<General><AllowMulticast>false</AllowMulticast></General>"
            f"<Discovery><ParticipantIndex>none</ParticipantIndex><Tag>ros_discovery_off_{os.getpid()}</Tag></Discovery>"
        )
    peers = ["localhost", *peers] if span == "LOCALHOST" else peers
    if span == "SYSTEM_DEFAULT" or not peers:
        return ""
    listed = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in peers)
    general = "<General><AllowMulticast>false</AllowMulticast></General>" if span == "LOCALHOST" else ""
    # One index, and with it one port, per process on this machine; 32 is what ROS nodes look through.
    index = "<ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
    return f"{general}<Discovery>{index}<Peers>{listed}</Peers></Discovery>"


class Participation:
    """Membership of a domain: the participant and its one publisher and subscriber, as a ROS process has them."""

    def __init__(self, settings: DomainSettings, enclave: str = "/") -> None:
        """Joins the domain.

        Args:
            settings: Which domain, and how.
            enclave: What the others are told as the security enclave.

        Raises:
            UsageError: The domain cannot be joined: bad configuration, no such network interface, no free port.
        """
        number, log = settings.domain_id, _Log()
        domain: Domain | None = None
        try:
            with log.listening():
                domain = Domain(number, settings.config)
                self.participant = DomainParticipant(number, qos=Qos(Policy.Userdata(f"enclave={enclave};".encode())))
        except (DDSException, UnicodeEncodeError) as error:
            if domain is not None:
                delete(domain)
            reason = "; ".join(dict.fromkeys(log.lines)) or str(error)
            raise UsageError(
                f"cannot join DDS domain {number}: {reason}; check CYCLONEDDS_URI, ROS_DOMAIN_ID and the network interfaces"
            ) from error
        for text in log.lines:
            get_logger("cyclonedds").warning(text)
        self._domain = domain
        self.publisher, self.subscriber = Publisher(self.participant), Subscriber(self.participant)
        self.gid = self.participant.guid.bytes

    def close(self) -> None:
        """Leaves the domain and frees everything that was made in it."""
        delete(self.publisher, self.subscriber, self.participant, self._domain)


@dataclass
class _Log:
    """Collects what Cyclone DDS prints while a domain is joined: there, and not in its return codes, it says what is wrong."""

    lines: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes standard error for as long. Cyclone DDS writes to the descriptor itself, so that nothing less will do."""
        with tempfile.TemporaryFile() as taken:
            try:
                kept = os.dup(_STDERR)
            except OSError:  # closed: nobody reads it, so nothing is lost
                yield
                return
            os.dup2(taken.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(kept, _STDERR)
                os.close(kept)
                taken.seek(0)
                found = taken.read().decode(errors="replace").splitlines()
                self.lines += [_HEAD.sub("", line).strip() for line in found if line.strip()]
