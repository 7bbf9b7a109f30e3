"""Keys under any Unicode."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cache.keys import (
    RESERVED_PREFIXES,
    ContentHasher,
    Key,
    Kind,
    before_hash,
    build_key,
    content_hash,
    cross,
    cross_all,
    is_key,
    key_prefix,
    node_segment,
    parse_key,
)

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too
SEGMENTS = st.text(ANY_CHARACTER, min_size=1, max_size=20) | st.sampled_from(
    ["anonymous", "emb", "lease", "a:b", "%61"]
)
NAMESPACES = st.none() | SEGMENTS.filter(lambda text: text not in RESERVED_PREFIXES)
HASHES = st.binary(min_size=16, max_size=16).map(bytes.hex)
KEYS = st.one_of(
    st.builds(
        Key,
        st.sampled_from([Kind.EMBEDDING, Kind.OPENAI_RESPONSE]),
        HASHES,
        model=SEGMENTS,
        namespace=NAMESPACES,
    ),
    st.builds(
        Key,
        st.sampled_from([Kind.JOB_MATCH, Kind.OPTIMIZATION]),
        HASHES,
        user=st.none() | SEGMENTS,
        namespace=NAMESPACES,
    ),
    st.builds(Key, st.just(Kind.SESSION), HASHES, namespace=NAMESPACES),
    st.builds(Key, st.just(Kind.HEALTH), component=SEGMENTS, namespace=NAMESPACES),
    st.builds(Key, st.just(Kind.STATS), component=SEGMENTS, namespace=NAMESPACES),
    st.builds(Key, st.just(Kind.TOOL_RESULT), HASHES, tool=SEGMENTS, namespace=NAMESPACES),
    st.builds(Key, st.just(Kind.NODE_RESULT), HASHES, node=SEGMENTS, namespace=NAMESPACES),
    st.builds(Key, st.just(Kind.CORPUS), HASHES, corpus=SEGMENTS, namespace=NAMESPACES),
)
PATHS = st.lists(st.text(ANY_CHARACTER, max_size=4) | st.sampled_from(["", "~", "%", "%~", "%7E"]), max_size=4)
FIELDS = st.none() | st.integers() | st.binary(max_size=8) | st.text(ANY_CHARACTER, max_size=8)
SAFE_KEY = re.compile(r"[A-Za-z0-9._~%:-]+")


@given(KEYS)
def test_a_built_key_parses_back(key: Key) -> None:
    """Building and parsing are inverse for every key."""
    assert parse_key(build_key(key)) == key


@given(KEYS, KEYS)
def test_distinct_keys_stay_distinct(left: Key, right: Key) -> None:
    """Two keys are written alike only if they are equal."""
    assert (build_key(left) == build_key(right)) == (left == right)


@given(KEYS)
def test_a_key_holds_no_special_character(key: Key) -> None:
    """Nothing in a key means anything to a glob, a cluster or a shell."""
    assert SAFE_KEY.fullmatch(build_key(key))


@given(KEYS)
def test_a_key_begins_with_the_prefix_of_its_kind_and_tenant(key: Key) -> None:
    """What clears a kind or a tenant finds all of its keys."""
    assert build_key(key).startswith(key_prefix(key.kind, key.namespace))
    assert build_key(key).startswith(key_prefix(None, key.namespace))


@given(KEYS, NAMESPACES, st.sampled_from(Kind))
def test_a_prefix_finds_no_other_tenant_or_kind(key: Key, namespace: str | None, kind: Kind) -> None:
    """A key begins with the prefix of a kind in a tenant only if it is of that kind and tenant."""
    is_inside = build_key(key).startswith(key_prefix(kind, namespace))
    assert is_inside == (key.kind is kind and key.namespace == namespace)


@given(PATHS, PATHS)
def test_distinct_paths_of_nodes_stay_distinct(left: list[str], right: list[str]) -> None:
    """Two namespaces of graphs are one text only if they are equal, part by part."""
    assert (node_segment(left) == node_segment(right)) == (left == right)


@given(st.text(ANY_CHARACTER, max_size=80) | st.text("abcdefghmoptsx:%0123456789", max_size=80))
def test_any_text_either_is_a_key_or_is_refused(text: str) -> None:
    """Parsing never fails in another way than by saying so, and what parses is built back to the same text."""
    assert not is_key(text) or build_key(parse_key(text)) == text


@given(st.lists(FIELDS, max_size=4), st.lists(FIELDS, max_size=4))
def test_different_fields_have_different_hashes(
    left: list[str | bytes | int | None], right: list[str | bytes | int | None]
) -> None:
    """Lists of fields have one hash only if they are equal, type by type."""
    same = [(type(field), field) for field in left] == [(type(field), field) for field in right]
    assert (content_hash(*left) == content_hash(*right)) == same


@given(st.lists(FIELDS, max_size=3), st.lists(st.text(ANY_CHARACTER), max_size=5), st.none() | st.binary(min_size=1))
def test_many_texts_are_hashed_as_each_is(shared: list[Any], texts: list[str], secret: bytes | None) -> None:
    """Hashing texts in one pass gives what hashing one after the other gives, and so does crossing their hashes."""
    hasher = ContentHasher(shared, secret=secret)
    each = [hasher.digest(text) for text in texts]
    assert hasher.digests(texts) == b"".join(each)
    assert cross_all(b"12345678", b"".join(each)) == b"".join(cross(b"12345678", digest) for digest in each)


@given(st.sampled_from([Kind.EMBEDDING, Kind.OPENAI_RESPONSE]), SEGMENTS, NAMESPACES, HASHES)
def test_a_key_is_what_stands_before_its_hash_and_the_hash(
    kind: Kind, model: str, namespace: str | None, digits: str
) -> None:
    """The keys of a model differ in their hash alone, which is at their end."""
    assert before_hash(kind, model, namespace) + digits == build_key(
        Key(kind, digits, model=model, namespace=namespace)
    )
