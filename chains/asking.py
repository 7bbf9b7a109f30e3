"""Asking a chat model for an answer in a schema, and going on without one."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import BaseModel, ValidationError

from chains.errors import OutputParseError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.prompts import ChatPromptTemplate

_log = logging.getLogger("resumecache")
RULES = "rules"
_FENCED = re.compile(r"[^`]*```(?:json)?(.*?)```[^`]*", re.DOTALL)

Answer = TypeVar("Answer", bound=BaseModel)


def ask_or_none(
    prompt: ChatPromptTemplate, chat_model: BaseChatModel, schema: type[Answer]
) -> Runnable[dict[str, Any], Answer | None]:
    """A runnable from the prompt's variables to an answer; `None`, and a warning, where the model fails.

    The request carries the whole JSON schema, so that a cache can tell one version of it from another; LangChain
    hands a cache only the name of a class.
    """

    def parse(answer: Any) -> Answer:
        try:
            return schema.model_validate(_whole_characters(_whole_answer(answer)))
        except ValidationError as error:
            problem = f"the model answered outside its schema in {error.error_count()} places"
            raise OutputParseError(problem) from None

    structured = chat_model.with_structured_output(schema.model_json_schema(), method="json_schema", include_raw=True)
    asked: Runnable[dict[str, Any], Answer | None] = prompt | structured | RunnableLambda(parse)
    return asked.with_fallbacks([_GIVE_UP], exception_key="error")


def _whole_answer(answer: Any) -> Any:
    """What was parsed, if all of it came: LangChain's parser closes the brackets of what was cut off.

    Raises:
        OutputParseError: the text is no whole JSON value; a fence around it, or words around the fence, may be there.
    """
    message: AIMessage = answer["raw"]
    text = message.text.strip()
    if message.tool_calls or not text:
        return answer["parsed"]
    fenced = _FENCED.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except ValueError:
        raise OutputParseError("the model's answer is no whole JSON") from None


def _whole_characters(answer: Any) -> Any:
    """An answer whose halves of characters are U+FFFD: models break emoji, and nothing could store or send them."""
    text = json.dumps(answer, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _give_up(parts: dict[str, Any]) -> None:
    _log.warning("no answer by the model (%s), what was computed stands", type(parts["error"]).__name__)


_GIVE_UP: RunnableLambda[dict[str, Any], Any] = RunnableLambda(_give_up)


def name_of(chat_model: BaseChatModel | None) -> str:
    """What results call their author: the model's name, or "rules" without one."""
    return RULES if chat_model is None else str(getattr(chat_model, "model_name", type(chat_model).__name__))


def schema_fingerprint(*schemas: type[BaseModel]) -> str:
    """A short hash of JSON schemas, for keys: a changed field is another result."""
    text = json.dumps([schema.model_json_schema() for schema in schemas], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
