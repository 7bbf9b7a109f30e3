"""`ResponseCache` under a chat model, on a real server: what LangChain makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation

from cache import CacheSettings, ResponseCache, StoreError
from tests.fakes import BrokenStore, CountingChatModel
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers import ValkeyServer

SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
USAGE: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
FULL_ANSWER = AIMessage(
    content=[{"type": "text", "text": "It is sunny. ☀"}],
    id="chatcmpl-1",
    name="assistant",
    tool_calls=[{"name": "weather", "args": {"place": "Zürich", "days": [1, 2]}, "id": "call_1", "type": "tool_call"}],
    additional_kwargs={"extra": {"a": None}},
    response_metadata={"finish_reason": "stop", "model_name": "m", "token_usage": {"total_tokens": 15}},
    usage_metadata=USAGE,
)

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
async def cache(clean_redis: str, namespace: str) -> AsyncIterator[ResponseCache]:
    """A cache of answers on the server, empty."""
    async with ResponseCache.from_url(clean_redis, namespace=namespace, settings=SETTINGS) as cache:
        yield cache


@pytest.fixture
def as_global(cache: ResponseCache) -> Iterator[None]:
    """The cache as LangChain's global one."""
    set_llm_cache(cache)
    yield
    set_llm_cache(None)


def chat(cache: ResponseCache | None, *answers: AIMessage | Exception, **options: Any) -> CountingChatModel:
    model = CountingChatModel(cache=cache, **options)
    model.answers = answers or [FULL_ANSWER]
    return model


async def ask(model: CountingChatModel, world: World, messages: Any) -> AIMessage:
    return model.invoke(messages) if world is World.SYNC else await model.ainvoke(messages)


async def ask_all(model: CountingChatModel, world: World, batch: list[Any]) -> list[AIMessage]:
    return model.batch(batch) if world is World.SYNC else await model.abatch(batch)


def same_for_the_caller(message: BaseMessage) -> dict[str, Any]:
    """A message without what is meant to differ: its id, its usage, and the mark of a hit."""
    fields = message.model_dump(exclude={"id", "usage_metadata"})
    metadata = fields.pop("response_metadata")
    return fields | {"said": {name: metadata.get(name) for name in ("finish_reason", "model_name")}}


@each_world
async def test_a_hit_equals_the_first_answer(world: World, cache: ResponseCache) -> None:
    """The second time the model is not asked, and content, tool calls and metadata are those of the first answer."""
    model = chat(cache)
    first, second = [await ask(model, world, "How is the weather?") for _ in range(2)]
    assert model.n_requests == 1
    assert same_for_the_caller(first) == same_for_the_caller(second)
    assert second.tool_calls == FULL_ANSWER.tool_calls


@each_world
async def test_a_hit_is_marked_and_bills_nothing(world: World, cache: ResponseCache) -> None:
    """A hit says that it is one, uses no tokens, and keeps the original figures beside that (traps L6, H15)."""
    model = chat(cache)
    first, second = [await ask(model, world, "q") for _ in range(2)]
    assert (first.usage_metadata, "resumecache" in first.response_metadata) == (USAGE, False)
    assert second.usage_metadata is not None
    assert {name: second.usage_metadata.get(name) for name in USAGE} == dict.fromkeys(USAGE, 0)
    assert "token_usage" not in second.response_metadata
    mark = second.response_metadata["resumecache"]
    assert (mark["hit"], mark["usage_metadata"], mark["token_usage"]) == (True, USAGE, {"total_tokens": 15})


@each_world
async def test_each_hit_has_an_id_of_its_own(world: World, cache: ResponseCache) -> None:
    """No two answers to the same question share a message id, so that a history keeps them all (traps L5, H14)."""
    model = chat(cache)
    assert len({(await ask(model, world, "q")).id for _ in range(4)}) == 4


@each_world
async def test_changing_a_hit_changes_no_other(world: World, cache: ResponseCache) -> None:
    """What a caller does to its answer is not seen by the next one (traps L11, H13)."""
    model = chat(cache)
    for _ in range(3):
        answer = await ask(model, world, "q")
        assert answer.tool_calls == FULL_ANSWER.tool_calls
        answer.tool_calls.clear()
        answer.response_metadata.clear()


@each_world
async def test_a_conversation_with_hits_in_it_is_found_again(world: World, cache: ResponseCache) -> None:
    """A second turn is a hit whether the first answer in its history was fresh or a hit (traps L7, H14)."""
    model = chat(cache, AIMessage("one"), AIMessage("two"))
    for _ in range(3):
        first = await ask(model, world, "q")
        second = await ask(model, world, [HumanMessage("q"), first, HumanMessage("and then?")])
        assert (first.content, second.content) == ("one", "two")
    assert model.n_requests == 2


@each_world
async def test_a_batch_is_looked_up_one_by_one(world: World, cache: ResponseCache) -> None:
    """Of a batch, what is known is not asked; every place gets the answer to its question."""
    known = chat(cache, AIMessage("to a"))
    await ask(known, world, "a")
    model = chat(cache, AIMessage("to b"))
    assert [answer.content for answer in await ask_all(model, world, ["a", "b", "a"])] == ["to a", "to b", "to a"]
    assert model.n_requests == 1


@each_world
async def test_all_generations_are_kept(world: World, cache: ResponseCache) -> None:
    """A request for several generations gets all of them again (trap H17)."""
    model = chat(cache, n_answers=3)
    results = []
    for _ in range(2):
        messages: list[list[BaseMessage]] = [[HumanMessage("q")]]
        asked = model.generate(messages) if world is World.SYNC else await model.agenerate(messages)
        results.append(asked.generations[0])
    assert model.n_requests == 1
    assert [len(generations) for generations in results] == [3, 3]
    ids = {generation.message.id for generation in results[1] if isinstance(generation, ChatGeneration)}
    assert len(ids) == 3


@each_world
async def test_a_tool_schema_is_part_of_the_request(world: World, cache: ResponseCache) -> None:
    """The same question with another tool is another request; with the same tool it is the same."""

    def weather(place: str) -> str:
        """Say how the weather is."""
        return place

    def news(topic: str) -> str:
        """Say what is new."""
        return topic

    model = chat(cache)
    for tool in (weather, news, weather):
        bound = model.bind_tools([tool])
        await bound.ainvoke("q") if world is World.ASYNC else bound.invoke("q")
    await ask(model, world, "q")
    assert model.n_requests == 3


@each_world
async def test_other_settings_are_another_request(world: World, cache: ResponseCache) -> None:
    """Another model, temperature or stop word does not get the first one's answer."""
    models = [chat(cache), chat(cache, model_name="other"), chat(cache, temperature=0.5)]
    for _ in range(2):
        for model in models:
            await ask(model, world, "q")
    assert [model.n_requests for model in models] == [1, 1, 1]
    stopping = models[0].bind(stop=["."])
    await stopping.ainvoke("q") if world is World.ASYNC else stopping.invoke("q")
    assert models[0].n_requests == 2


@each_world
@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_a_bad_answer_is_given_once(finish: str, world: World, cache: ResponseCache) -> None:
    """An answer that was cut or filtered reaches its caller and nobody else (traps L12, H16)."""
    bad = AIMessage("It is", response_metadata={"finish_reason": finish})
    model = chat(cache, bad, AIMessage("It is sunny."))
    contents = [(await ask(model, world, "q")).content for _ in range(3)]
    assert contents == ["It is", "It is sunny.", "It is sunny."]


@each_world
async def test_an_error_of_the_model_is_not_kept(world: World, cache: ResponseCache) -> None:
    """An error goes to the caller; the next call asks again."""
    model = chat(cache, RuntimeError("down"), AIMessage("up"))
    with pytest.raises(RuntimeError, match="down"):
        await ask(model, world, "q")
    assert (await ask(model, world, "q")).content == "up"


@each_world
@pytest.mark.usefixtures("as_global")
async def test_the_global_cache_serves_all_models(world: World) -> None:
    """Set as LangChain's global cache, it serves every model that has none of its own."""
    one, other = chat(None), chat(None)
    await ask(one, world, "q")
    await ask(other, world, "q")
    assert (one.n_requests, other.n_requests) == (1, 0)


@each_world
async def test_a_broken_store_never_fails_a_call(world: World) -> None:
    """While the store fails every call is answered by the model; once it is healed, answers are found (L9, H12)."""
    store = BrokenStore(StoreError("broken", reason="response"))
    model = chat(ResponseCache(store, settings=SETTINGS), AIMessage("fine"))
    for _ in range(3):
        assert (await ask(model, world, "q")).content == "fine"
    store.heal()
    for _ in range(3):
        assert (await ask(model, world, "q")).content == "fine"
    assert model.n_requests == 4


@each_world
async def test_a_store_with_a_bug_never_fails_a_call(world: World) -> None:
    """Whatever a store raises, looking up finds nothing and updating does nothing; it is counted (L9, H12)."""
    store = BrokenStore(ValueError("a bug"))  # type: ignore[arg-type]  # on purpose
    cache = ResponseCache(store, settings=SETTINGS)
    assert await world.lookup(cache, "q", "[('model', 'm')]") is None
    await world.update(cache, "q", "[('model', 'm')]", [Generation(text="fine")])
    assert cache.counts().failures == {"internal": 2}


@each_world
async def test_two_tenants_do_not_meet(world: World, clean_redis: str, namespace: str) -> None:
    """What one namespace has stored another does not find."""
    contents = []
    for tenant in ("a", "b", "a"):
        async with ResponseCache.from_url(clean_redis, namespace=f"{namespace}{tenant}", settings=SETTINGS) as cache:
            contents.append((await ask(chat(cache, AIMessage(f"first {tenant}")), world, "q")).content)
    assert contents == ["first a", "first b", "first a"]


async def test_both_worlds_share_answers(cache: ResponseCache, valkey: ValkeyServer) -> None:
    """What was answered to a blocking call is a hit for an asynchronous one, and the other way round."""
    model = chat(cache)
    await model.ainvoke("one")
    model.invoke("one")
    model.invoke("two")
    await model.ainvoke("two")
    assert model.n_requests == 2


@each_world
async def test_hits_do_not_lengthen_the_life_of_an_answer(
    world: World, cache: ResponseCache, valkey: ValkeyServer
) -> None:
    """An answer that is asked for all the time ends when it was said to (trap H24)."""
    model = chat(cache)
    await ask(model, world, "question")
    [key] = valkey.command("KEYS", "*")
    valkey.command("EXPIRE", key.decode(), "100")
    for _ in range(3):
        await ask(model, world, "question")
    assert model.n_requests == 1
    assert 0 < int(valkey.command("TTL", key.decode())) <= 100
