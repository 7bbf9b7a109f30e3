"""Forgetting one person among many entries of a cluster of three servers, while others and the person are written.

Run `python -m benchmarks.forgetting --entries 100000` in the root of the repository; it starts its own servers and
takes a minute or two. One entry of ten is about the person, as many about nobody, the others about others.

It ends with exit code 1 and says why when a promise is broken: a tag of the person in any key or value on any server,
or an entry of others that is missing or changed.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from cache import CacheBackedEmbeddings, CacheSettings, about, store_from_url
from cache.admin import Admin
from cache.deadline import Deadline
from cache.forgetting import Subject
from cache.service import SyncCacheService
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.servers import ValkeyCluster

if TYPE_CHECKING:
    from cache.forgetting import Receipt
    from cache.stores.base import Store

SETTINGS = CacheSettings(namespace="bench", key_secret="s" * 32, redis_url="memory://", deadline_ms=5000)
PERSON = "candidate-0"
N_PEOPLE = 10
BATCH = 500
PAUSE_S = 0.002


def fill(store: Store, n_entries: int) -> None:
    """Keep vectors, of ten subjects in turn; the last of them is nobody."""
    embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="model", settings=SETTINGS)
    for start in range(0, n_entries, BATCH):
        who = start // BATCH % N_PEOPLE
        with about(candidate=None if who == N_PEOPLE - 1 else f"candidate-{who}"):
            embeddings.embed_documents([f"text {n}" for n in range(start, min(start + BATCH, n_entries))])


def write(store: Store, candidate: str, ended: threading.Event) -> None:
    """Keep results about somebody until it is over."""
    service, n = SyncCacheService(FailOpenStore(store), settings=SETTINGS), 0
    while not ended.wait(PAUSE_S):
        n += 1
        with about(candidate=candidate):
            service.cache_job_match_result(f"{candidate} {n}", "an ad", {"score": n})


def dump(store: Store, cluster: ValkeyCluster) -> dict[str, bytes]:
    """All keys of all servers, and what is stored there."""
    found: dict[str, bytes] = {}
    for server in cluster.primaries:
        keys = [key.decode() for key in server.command("KEYS", "*", timeout_s=60.0)]
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            found.update((key, value) for key, value in zip(some, store.mget(some), strict=True) if value is not None)
    return found


def broken_promises(before: dict[str, bytes], after: dict[str, bytes], subject: Subject) -> list[str]:
    """What must not have happened."""
    left = [key for key, value in after.items() if subject.tag in value and key != subject.tombstone]
    others = {key: value for key, value in before.items() if subject.tag not in value}
    lost = [key for key, value in others.items() if sha256(value).digest() != sha256(after.get(key, b"")).digest()]
    words = [(left, "entries of the person are left"), (lost, "entries of others are gone or changed")]
    return [f"{len(keys)} {what}, such as {keys[0]}" for keys, what in words if keys]


def forget(url: str, admin: Admin) -> tuple[Receipt, float]:
    """Forget the person with two writers running, one of them about the person; the receipt, and seconds."""
    ended = threading.Event()
    stores = [store_from_url(url, deadline=Deadline(base_s=5.0)) for _ in range(2)]
    writers = [
        threading.Thread(target=write, args=(own, name, ended))
        for own, name in zip(stores, (PERSON, "candidate-1"), strict=True)
    ]
    for writer in writers:
        writer.start()
    try:
        start_s = time.perf_counter()
        receipt = admin.forget(candidate=PERSON)
        taken_s = time.perf_counter() - start_s
    finally:
        ended.set()
        for writer, own in zip(writers, stores, strict=True):
            writer.join()
            own.close()
    return receipt, taken_s


def main() -> int:
    """Fill, forget, look, and return 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forgetting", description="Forget one of many people.")
    parser.add_argument("--entries", type=int, default=100_000, help="how many there are")
    n_entries: int = parser.parse_args().entries
    with ValkeyCluster() as cluster, store_from_url(cluster.url, deadline=Deadline(base_s=5.0)) as store:
        fill(store, n_entries)
        before, admin = dump(store, cluster), Admin(store, SETTINGS)
        receipt, taken_s = forget(cluster.url, admin)
        after = dump(store, cluster)
    subject = Subject.of(SETTINGS, candidate=PERSON)
    print(f"{len(before)} entries, {sum(subject.tag in value for value in before.values())} about the person")
    print(f"{receipt.count} deleted in {taken_s:.1f} s and {receipt.n_passes} passes: {receipt.verified_by}")
    broken = broken_promises(before, after, subject)
    print("\n".join(broken or ["No promise was broken."]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
