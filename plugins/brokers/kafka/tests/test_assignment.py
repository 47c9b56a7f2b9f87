from __future__ import annotations

from aats_broker_kafka.assignment import (
    Claim,
    assign,
    decode_claim,
    decode_places,
    encode_claim,
    encode_places,
)
from aats_broker_kafka.driver import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

members = st.sets(st.sampled_from("abcdefg"), min_size=1)


def places(count: int) -> list[TopicPartition]:
    return [TopicPartition(f"t{number % 3}", number) for number in range(count)]


def settle(count: int, owned: dict[str, list[TopicPartition]], joined: set[str]) -> dict[str, list[TopicPartition]]:
    """Share out again and again, as a group does, until nothing moves; each step is checked."""
    for generation in range(1, 5):
        claims = {member: Claim(generation, tuple(map(tuple, owned.get(member, [])))) for member in joined}
        shares = assign(places(count), claims)
        taken = [place for share in shares.values() for place in share]
        assert len(taken) == len(set(taken)), "two members own a partition"
        for member, share in shares.items():
            others = {place for name in joined - {member} for place in owned.get(name, [])}
            assert not others & set(share), "a partition moved before its owner let it go"
        if shares == owned:
            return shares
        owned = shares
    raise AssertionError("the group does not come to rest")


@given(st.integers(0, 20), members, members)
def test_a_group_comes_to_rest_evenly_and_moves_little(count: int, before: set[str], after: set[str]) -> None:
    first = settle(count, {}, before)
    second = settle(count, {member: share for member, share in first.items() if member in after}, after)

    for shares in (first, second):
        sizes = [len(share) for share in shares.values()]
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1
    for member in before & after:
        kept = set(first[member]) & set(second[member])
        assert len(kept) >= min(len(first[member]), count // len(after)), f"{member} lost more than it had to"


def test_of_two_claims_the_younger_counts() -> None:
    place = TopicPartition("t", 0)
    shares = assign([place], {"a": Claim(3, (("t", 0),)), "b": Claim(4, (("t", 0),))})
    assert shares == {"a": [], "b": [place]}


def test_claims_and_shares_travel_in_the_form_of_kafkas_consumers() -> None:
    claim = Claim(7, (("t", 1), ("u", 0)), consumers=3)
    assert decode_claim(encode_claim("t.*", claim)) == claim
    assert decode_places(encode_places(places(5))) == set(places(5))
    assert decode_places(b"") == set()
