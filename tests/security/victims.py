"""What is attacked: the caches of two tenants over a store that the attacker reads and writes as he likes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.counters import Counters
from cache.graph import NodeCache
from cache.keys import parse_key
from cache.service import SyncCacheService
from cache.settings import CacheSettings
from cache.subjects import about
from cache.wrappers import FailOpenStore
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.keys import Kind
    from cache.stores.base import Store

KEY = "c2VjcmV0IG9mIHRoZSB2aWN0aW0sIDMyIGJ5dGVzIC4="
SECRET = "the secret of the victim's keys"  # noqa: S105  a test's own
SESSION_ID = "the-id-of-Zebulon's-session"
RESUME, JOB = "Zebulon Quagmire-Oxblood, +44 7700 900123", "We look for a Xylographer in Llanfairpwll"
USER, ANSWER = "zebulon@quagmire.example", "Zebulon earns 123456 Zorkmids"
MARKERS = tuple(
    word.encode()
    for word in (
        "Zebulon", "Quagmire", "Oxblood", "7700", "900123", "Xylographer", "Llanfairpwll", "zebulon", "quagmire",
        "Zorkmids", "123456", SESSION_ID, "candidate-zebulon",
    )
)  # fmt: skip
NODE = (("graph", "rank"), "input")


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of the victim: where it lies, and how he reads it.

    Attributes:
        key: of the store.
        read: what the victim gets; `None` is a miss.
    """

    key: str
    read: Callable[[], Any]

    @property
    def kind(self) -> Kind:
        """The kind of entry."""
        return parse_key(self.key).kind


class Victim:
    """The caches of one tenant, with an entry of every kind that holds personal data.

    Args:
        store: where entries live; the attacker's too.
        namespace: the tenant.
        is_sealed: whether keys are set.
    """

    def __init__(self, store: Store, *, namespace: str = "acme", is_sealed: bool = True) -> None:
        self.store = store
        self.clock = FakeClock()
        self.settings = CacheSettings(
            namespace=namespace,
            encryption_keys=(KEY,) if is_sealed else (),
            key_secret=SECRET if is_sealed else None,
            deadline_ms=5000,
        )
        safe = FailOpenStore(store)
        self.service = SyncCacheService(safe, settings=self.settings, clock=self.clock)
        self.nodes = NodeCache(safe, settings=self.settings, counters=Counters(), clock=self.clock)

    def write(self) -> list[Stored]:
        """Store one entry of each kind."""
        with about(candidate="candidate-zebulon", job="job-zebulon"):
            return [self._stored(write, read) for write, read in self.entries(RESUME, USER, SESSION_ID)]

    def entries(
        self, text: str, user: str | None, session_id: str
    ) -> list[tuple[Callable[[], object], Callable[[], Any]]]:
        """How an entry of each kind is written and read."""
        service, nodes = self.service, self.nodes
        return [
            (
                lambda: service.cache_embedding(text, [0.25] * 384, "m"),
                lambda: service.get_cached_embedding(text, "m"),
            ),
            (
                lambda: service.cache_openai_response(text, ANSWER, "gpt"),
                lambda: service.get_cached_openai_response(text, "gpt"),
            ),
            (
                lambda: service.cache_job_match_result(text, JOB, {"said": ANSWER}, user),
                lambda: service.get_cached_job_match_result(text, JOB, user),
            ),
            (
                lambda: service.cache_optimization_result(text, JOB, {"said": ANSWER * 50}, user),
                lambda: service.get_cached_optimization_result(text, JOB, user),
            ),
            (
                lambda: service.cache_session(session_id, {"resume": text}),
                lambda: service.get_session(session_id),
            ),
            (
                lambda: nodes.set({NODE: ({"resume": text}, None)}),
                lambda: nodes.get([NODE]).get(NODE),
            ),
        ]  # fmt: skip

    def _stored(self, write: Callable[[], object], read: Callable[[], Any]) -> Stored:
        before = set(self.store.yield_keys())
        write()
        [key] = set(self.store.yield_keys()) - before
        return Stored(key, read)
