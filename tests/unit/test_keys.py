"""Keys: the documented forms, what makes two of them differ, and what is no key."""

from __future__ import annotations

import hashlib
import hmac

import fakeredis
import pytest

from cache.counters import Counters
from cache.embedding_flow import EmbeddingSpace, Role
from cache.errors import InvalidKeyError
from cache.keys import (
    ContentHasher,
    Key,
    Kind,
    build_key,
    check_namespace,
    content_hash,
    cross,
    glob_of_prefix,
    hashed_user,
    is_key,
    key_prefix,
    key_tag,
    named_prefix,
    node_segment,
    parse_key,
    rest_tag,
)
from tests.fakes import FakeClock

HASH = "0123456789abcdef0123456789abcdef"
EXAMPLES = [
    (Key(Kind.EMBEDDING, HASH, model="text-embedding-3-small"), f"emb:text-embedding-3-small:{HASH}"),
    (Key(Kind.OPENAI_RESPONSE, HASH, model="gpt-4o"), f"openai:gpt-4o:{HASH}"),
    (Key(Kind.JOB_MATCH, HASH, user="u-17"), f"match:{HASH}:u-17"),
    (Key(Kind.JOB_MATCH, HASH), f"match:{HASH}:anonymous"),
    (Key(Kind.OPTIMIZATION, HASH, user="u-17"), f"opt:{HASH}:u-17"),
    (Key(Kind.SESSION, HASH), f"session:{HASH}"),
    (Key(Kind.HEALTH, component="redis"), "health:redis"),
    (Key(Kind.STATS, component="17"), "stats:17"),
    (Key(Kind.TOOL_RESULT, HASH, tool="get_weather"), f"tool:get_weather:{HASH}"),
    (Key(Kind.NODE_RESULT, HASH, node="writes~agent.rank~rank"), f"node:writes~agent.rank~rank:{HASH}"),
    (Key(Kind.CORPUS, HASH, corpus="ads", namespace="acme"), f"acme:corpus:ads:{HASH}"),
    (Key(Kind.EMBEDDING, HASH, model="m", namespace="acme"), f"acme:emb:m:{HASH}"),
    (Key(Kind.HEALTH, component="redis", namespace="acme"), "acme:health:redis"),
]


@pytest.mark.parametrize(("key", "text"), EXAMPLES)
def test_documented_examples_are_written_and_read_verbatim(key: Key, text: str) -> None:
    """Every documented form is built as it stands in the documentation, and parses back."""
    assert build_key(key) == text
    assert parse_key(text) == key


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("llama3:8b", "llama3%3A8b"),
        ("org/model", "org%2Fmodel"),
        ("{slot}", "%7Bslot%7D"),
        ("a*b?c[d]", "a%2Ab%3Fc%5Bd%5D"),
        ("line\nbreak", "line%0Abreak"),
        ("100%", "100%25"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("\ud800", "%ED%A0%80"),
        ("A-Z.a_z~0", "A-Z.a_z~0"),
    ],
)
def test_special_characters_cannot_leave_their_segment(model: str, segment: str) -> None:
    """Separators, globs, hash tags, line breaks and any Unicode are percent-encoded (traps H3, H4, H5)."""
    key = Key(Kind.EMBEDDING, HASH, model=model)
    assert build_key(key) == f"emb:{segment}:{HASH}"
    assert parse_key(build_key(key)) == key


def test_a_user_called_anonymous_is_not_the_anonymous_user() -> None:
    """No user and a user of that name have different keys, and both parse back."""
    nobody, somebody = Key(Kind.JOB_MATCH, HASH), Key(Kind.JOB_MATCH, HASH, user="anonymous")
    assert build_key(nobody) == f"match:{HASH}:anonymous"
    assert build_key(somebody) == f"match:{HASH}:%61nonymous"
    assert [parse_key(build_key(key)) for key in (nobody, somebody)] == [nobody, somebody]


@pytest.mark.parametrize(
    "text",
    [
        f"emb:%6D:{HASH}",  # m, encoded without need
        f"emb:a%2fb:{HASH}",  # lower-case hex digits in the encoding
        f"emb:m:{HASH.upper()}",
        f"emb:ü:{HASH}",
        f"emb:a b:{HASH}",
        f"emb:a%:{HASH}",
        f"emb:a%ZZ:{HASH}",
        f"emb:%FF:{HASH}",  # no UTF-8
        f"match:{HASH}:%61%6Eonymous",
        f"%61cme:emb:m:{HASH}",
        f"%65mb:emb:m:{HASH}",  # a namespace that is a prefix, disguised
        f"emb:\udcff:{HASH}",  # how a byte that is no UTF-8 comes out of a server
    ],
)
def test_another_spelling_of_a_key_is_no_key(text: str) -> None:
    """There is one spelling of each key, so that two texts never mean the same entry."""
    with pytest.raises(InvalidKeyError):
        parse_key(text)
    assert not is_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "emb",
        "emb:m",
        f"emb:m:{HASH}:more",
        f"emb::{HASH}",
        f"emb:m:{HASH[:-1]}",
        f"emb:m:{HASH}\n",
        f"emb:m:{'g' * 32}",
        f":emb:m:{HASH}",
        f"a:b:emb:m:{HASH}",
        f"match:{HASH}:",
        f"session:{HASH}:u",
        "health:",
        f"lease:emb:m:{HASH}",
        f"other:m:{HASH}",
        "user:1:name",
    ],
)
def test_foreign_keys_do_not_parse(text: str) -> None:
    """What is not exactly of a documented form is not ours."""
    assert not is_key(text)


@pytest.mark.parametrize(
    "namespace", ["emb", "openai", "match", "opt", "session", "health", "tool", "node", "corpus", "lease"]
)
def test_a_namespace_is_never_a_prefix(namespace: str) -> None:
    """`emb:session:...` could otherwise be a session of tenant emb or an embedding of model session."""
    with pytest.raises(InvalidKeyError, match=namespace):
        build_key(Key(Kind.SESSION, HASH, namespace=namespace))
    with pytest.raises(InvalidKeyError, match=namespace):
        check_namespace(namespace)


@pytest.mark.parametrize(
    "key",
    [
        Key(Kind.EMBEDDING, HASH, model=""),
        Key(Kind.EMBEDDING, HASH, model="m" * 513),
        Key(Kind.EMBEDDING, HASH, model="ü" * 86),  # 516 characters once encoded
        Key(Kind.EMBEDDING, "", model="m"),
        Key(Kind.EMBEDDING, HASH[:-1], model="m"),
        Key(Kind.EMBEDDING, HASH.upper(), model="m"),
        Key(Kind.JOB_MATCH, HASH, user=""),
        Key(Kind.HEALTH, component=""),
        Key(Kind.TOOL_RESULT, HASH),
        Key(Kind.NODE_RESULT, HASH),
        Key(Kind.SESSION, HASH, namespace=""),
    ],
)
def test_a_segment_that_cannot_stand_in_a_key_is_refused(key: Key) -> None:
    """Empty, overlong and malformed segments are errors when the key is built, not surprises when it is read."""
    with pytest.raises(InvalidKeyError):
        build_key(key)


@pytest.mark.parametrize(
    "key",
    [
        Key(Kind.EMBEDDING, HASH, model="m", user="u"),
        Key(Kind.SESSION, HASH, model="m"),
        Key(Kind.JOB_MATCH, HASH, component="c"),
        Key(Kind.HEALTH, HASH, component="c"),
        Key(Kind.TOOL_RESULT, HASH, tool="t", node="n"),
        Key(Kind.NODE_RESULT, HASH, node="n", model="m"),
        Key(Kind.CORPUS, HASH, corpus="c", node="n"),
    ],
)
def test_a_part_that_the_kind_does_not_have_is_refused(key: Key) -> None:
    """A part that would be left out of the text could let two keys meet that are not equal."""
    with pytest.raises(InvalidKeyError, match="expected no"):
        build_key(key)


@pytest.mark.parametrize("namespace", [None, ""])
def test_an_empty_namespace_is_none(namespace: str | None) -> None:
    """An empty setting and an absent one are the same tenant."""
    assert check_namespace(namespace) is None


@pytest.mark.parametrize(
    ("kind", "namespace", "prefix"),
    [
        (None, None, ""),
        (Kind.OPENAI_RESPONSE, None, "openai:"),
        (Kind.EMBEDDING, "a*b", "a%2Ab:emb:"),
        (None, "acme", "acme:"),
    ],
)
def test_a_prefix_covers_a_kind_or_a_tenant(kind: Kind | None, namespace: str | None, prefix: str) -> None:
    """The prefix of a kind or a namespace is what its keys begin with, encoded as they are."""
    assert key_prefix(kind, namespace) == prefix


def test_a_prefix_covers_one_tool_or_node() -> None:
    """What clears one tool finds no other whose name begins alike."""
    assert named_prefix(Kind.TOOL_RESULT, "a*", "acme") == "acme:tool:a%2A:"
    assert named_prefix(Kind.NODE_RESULT, "writes~f~n", None) == "node:writes~f~n:"
    with pytest.raises(InvalidKeyError, match="tool of 1 to 512"):
        named_prefix(Kind.TOOL_RESULT, "", None)


@pytest.mark.parametrize(
    ("path", "segment"),
    [
        (("writes", "agent.rank", "rank"), "writes~agent.rank~rank"),
        ((), "~"),
        (("",), "%"),
        (("", ""), "%~%"),
        (("a~b",), "a%7Eb"),
        (("a", "b"), "a~b"),
        (("%",), "%25"),
    ],
)
def test_the_path_of_a_node_is_one_text(path: tuple[str, ...], segment: str) -> None:
    """The parts of a graph's namespace are joined so that no part can forge the joint."""
    assert node_segment(path) == segment


@pytest.mark.parametrize("prefix", ["emb:", "a*", "a?c", "a[bc]", "a\\", "[^a]", "", "^", "-", "]", "{x}"])
def test_a_glob_matches_the_prefix_and_nothing_else(prefix: str) -> None:
    """Glob characters in a prefix stand for themselves, as a server's own matching shows (trap H5)."""
    client = fakeredis.FakeRedis()
    keys = [
        "emb:1",
        "a*x",
        "abx",
        "a?c",
        "abc",
        "a[bc]x",
        "ab",
        "a\\x",
        "[^a]b",
        "b",
        "^x",
        "-x",
        "]x",
        "{x}y",
    ]
    client.mset(dict.fromkeys(keys, "v"))
    found = sorted(key.decode() for key in client.scan_iter(match=glob_of_prefix(prefix), count=100))
    assert found == sorted(key for key in keys if key.startswith(prefix))


def test_the_content_hash_is_sha256_over_length_prefixed_fields() -> None:
    """The digest is the first 16 bytes of SHA-256 over a type letter, a length and the bytes of each field."""
    framed = b"s6:Gr\xc3\xb6\xc3\x9f" + b"b2:\x00:" + b"i3:-12" + b"n"
    assert content_hash("Größ", b"\x00:", -12, None) == hashlib.sha256(framed).hexdigest()[:32]


def test_fields_do_not_run_together() -> None:
    """Moving characters between fields, or joining fields, changes the hash (trap H6)."""
    splits = [("a", "bc"), ("ab", "c"), ("abc",), ("", "abc"), ("abc", ""), ("a", "b", "c"), ("s2:bc", "a")]
    assert len({content_hash(*fields) for fields in splits}) == len(splits)


def test_values_that_look_alike_are_told_apart() -> None:
    """Nothing, an empty text, a zero, no bytes and their spellings are all different values."""
    values: list[str | bytes | int | None] = [None, "", 0, b"", "0", b"0", "None", "n", b"n", True, 1, "1"]
    assert len({content_hash(value) for value in values}) == len(values)


def test_a_value_of_an_unknown_type_is_refused() -> None:
    """A field that could not be hashed is an error: passed over, it would not tell two values apart."""
    with pytest.raises(AssertionError):
        content_hash(0.5)  # type: ignore[arg-type]  # that is the point


def test_order_of_fields_counts() -> None:
    """The same fields in another order are another value."""
    assert content_hash("resume", "job") != content_hash("job", "resume")


def test_a_secret_makes_the_hash_an_hmac() -> None:
    """With a secret the digest is HMAC-SHA-256 under that secret, so another secret gives another hash."""
    expected = hmac.new(b"k", b"s4:text", hashlib.sha256).hexdigest()[:32]
    assert content_hash("text", secret=b"k") == expected
    assert len({content_hash("text", secret=secret) for secret in (None, b"k", b"l")}) == 3


def test_a_hasher_gives_what_hashing_all_fields_at_once_gives() -> None:
    """Shared fields are hashed once, and one text leaves no trace in the hash of the next."""
    hasher = ContentHasher(("embedding", "m"), secret=b"k")
    digests = [hasher.digest(text).hex() for text in ("one", "two", "one")]
    assert digests == [content_hash("embedding", "m", text, secret=b"k") for text in ("one", "two", "one")]


def test_a_user_is_hashed_only_with_a_secret() -> None:
    """A user id stands in the key as given, or as an HMAC where a secret is set; nobody stays nobody."""
    assert hashed_user("ann", None) == "ann"
    assert hashed_user(None, b"k") is None
    assert hashed_user("ann", b"k") == content_hash("user", "ann", secret=b"k")
    assert hashed_user("anonymous", b"k") != hashed_user(None, b"k")


def test_a_key_tag_is_the_content_hash_crossed_with_the_rest() -> None:
    """The tag is worked out by hand: 8 bytes of the hash XOR 8 bytes of SHA-256 of the key without it."""
    rest = int.from_bytes(hashlib.sha256(b"acme:match::u").digest()[:8])
    expected = (0x0123456789ABCDEF ^ rest).to_bytes(8)
    assert key_tag(f"acme:match:{HASH}:u") == expected


def test_a_key_without_a_content_hash_has_the_tag_of_its_whole_text() -> None:
    """A health report is bound to its component."""
    assert key_tag("health:redis") == hashlib.sha256(b"health:redis").digest()[:8]


@pytest.mark.parametrize("namespace", [None, "acme", HASH, "0" * 32, "llama:3"])
@pytest.mark.parametrize("model", ["m", "llama3:8b", HASH, "0" * 32])
def test_a_batch_of_keys_has_the_tags_of_its_keys(namespace: str | None, model: str) -> None:
    """The joined tags of a batch are the tags of its keys one by one, even where a name looks like a hash."""
    space = EmbeddingSpace(
        model=model, namespace=namespace, parameters=b"{}", secret=None, ttl_s=60, batch_size=8,
        clock=FakeClock(), counters=Counters(),
    )  # fmt: skip
    keys, tags = space.keys(["one", "two", "Größe", "\ud800"], Role.QUERY)
    assert tags == b"".join(key_tag(key) for key in keys)
    assert all(parse_key(key).namespace == namespace and parse_key(key).model == model for key in keys)


def test_tags_of_keys_that_differ_in_one_part_differ() -> None:
    """The same content under another kind, model, user or tenant carries another tag."""
    keys = [
        f"emb:m:{HASH}", f"emb:n:{HASH}", f"openai:m:{HASH}", f"acme:emb:m:{HASH}",
        f"match:{HASH}:u", f"match:{HASH}:v", f"opt:{HASH}:u", f"session:{HASH}", f"{HASH}:emb:m:{HASH}",
    ]  # fmt: skip
    assert len({key_tag(key) for key in keys}) == len(keys)


def test_crossing_is_xor_of_the_first_eight_bytes() -> None:
    """Both sides are cut to 8 bytes, and crossing twice with one side gives the other back."""
    left, right = bytes(range(16)), bytes(range(100, 116))
    assert cross(left, right) == bytes(a ^ b for a, b in zip(left[:8], right[:8], strict=True))
    assert cross(cross(left, right), right) == left[:8]
    assert len(rest_tag("any")) == 8
