"""Who reads which partition: as even as it can be, with as little moved as it can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocol

from aats_broker_kafka.driver import TopicPartition

PROTOCOL = "aats-cooperative"


class Claim(msgspec.Struct, frozen=True):
    """What a member says it reads, since which generation of the group, and how many consumers it has."""

    generation: int
    owned: tuple[tuple[str, int], ...] = ()
    consumers: int = 0


def encode_claim(pattern: str, claim: Claim) -> bytes:
    """Return the metadata with which a member joins, in the form of Kafka's consumers, which its tools show."""
    metadata: bytes = ConsumerProtocol.METADATA(0, [pattern], msgspec.json.encode(claim)).encode()
    return metadata


def decode_claim(metadata: bytes) -> Claim:
    """Return the claim in a member's metadata."""
    return msgspec.json.decode(ConsumerProtocol.METADATA.decode(metadata).user_data, type=Claim)


def encode_places(places: Iterable[TopicPartition]) -> bytes:
    """Return the assignment of one member, in the form of Kafka's consumers."""
    topics: dict[str, list[int]] = {}
    for place in places:
        topics.setdefault(place.topic, []).append(place.partition)
    assignment: bytes = ConsumerProtocol.ASSIGNMENT(0, list(topics.items()), b"").encode()
    return assignment


def decode_places(assignment: bytes) -> set[TopicPartition]:
    """Return what a member was assigned."""
    return set(ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions()) if assignment else set()


def assign(places: Sequence[TopicPartition], claims: Mapping[str, Claim]) -> dict[str, list[TopicPartition]]:
    """Share partitions among members.

    A partition that is to move is given to nobody until its owner, who misses it in its share, has let it go and
    joined again: nobody else stops reading meanwhile.
    """
    owners = _owners(places, claims)
    shares: dict[str, list[TopicPartition]] = {member: [] for member in sorted(claims)}
    least, extra = divmod(len(places), len(shares))
    homeless = []
    for place in places:
        owner = owners.get(place)
        if owner is not None and len(shares[owner]) < least:
            shares[owner].append(place)
        elif owner is not None and extra and len(shares[owner]) == least:
            shares[owner].append(place)
            extra -= 1
        else:
            homeless.append(place)
    for place in homeless:
        member = min(shares, key=lambda name: len(shares[name]))
        shares[member].append(place)
    return {
        member: [place for place in share if owners.get(place, member) == member] for member, share in shares.items()
    }


def _owners(places: Iterable[TopicPartition], claims: Mapping[str, Claim]) -> dict[TopicPartition, str]:
    wanted, owners = set(places), dict[TopicPartition, str]()
    for member in sorted(claims, key=lambda name: claims[name].generation):
        owners |= {place: member for pair in claims[member].owned if (place := TopicPartition(*pair)) in wanted}
    return owners
