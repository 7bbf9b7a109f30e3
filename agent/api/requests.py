"""From a request, in JSON or with uploaded files, to the documents that it is about."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from agent.api.limits import MULTIPART, media_type
from agent.api.schemas import MAX_DOCUMENT_CHARS, MAX_JOBS, PairBody, RankBody
from chains.documents import SUFFIXES, Document, read_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import FormData
    from starlette.requests import Request

    from agent.ai_service import AIService

Body = TypeVar("Body", bound=BaseModel)

JSON = "application/json"
_FILE = {"type": "string", "format": "binary", "description": f"One of {', '.join(sorted(SUFFIXES))}."}
_PLAIN_FIELDS = 5  # texts, a user, two ids
_PAIR_TEXTS = {"resume": "resume_text", "job": "job_description"}  # files, each with the field that it stands for
_RANKING_TEXTS = {"resume": "resume_text", "jobs": "jobs"}


@dataclass(frozen=True, slots=True)
class RankInput:
    """A resume, job ads, and how many of them to give."""

    resume: Document
    jobs: list[Document]
    ids: list[str]
    top_k: int
    candidate_id: str | None = None


async def read_pair(request: Request, service: AIService) -> PairBody:
    """The texts of a resume and an ad: given in JSON, or as fields and files of a form.

    Raises:
        RequestValidationError: something is missing, or not as expected.
        DocumentError: a file cannot be read.
        HTTPException: 413 for a text that is too long, 415 for a body of another type.
    """
    if media_type(request.headers.get("content-type", "")) != MULTIPART:
        return await _read_json(request, PairBody)
    async with request.form(max_files=2, max_fields=_PLAIN_FIELDS) as form:
        _check_form(form, _PAIR_TEXTS)
        fields = _plain_fields(form)
        for name, field in _PAIR_TEXTS.items():
            if files := _files(form, name):
                fields[field] = (await _read_upload(files[0], name, service)).text
        return _validated(PairBody, fields)


async def read_ranking(request: Request, service: AIService) -> RankInput:
    """The documents of a ranking: given in JSON, or as fields and files of a form.

    Raises:
        RequestValidationError: something is missing, or not as expected.
        DocumentError: a file cannot be read.
        HTTPException: 413 for a text that is too long, 415 for a body of another type.
    """
    if media_type(request.headers.get("content-type", "")) != MULTIPART:
        return await service.compute(_ranking_of, await _read_json(request, RankBody))
    async with request.form(max_files=MAX_JOBS + 1, max_fields=_PLAIN_FIELDS) as form:
        _check_form(form, _RANKING_TEXTS)
        fields = _plain_fields(form)
        if files := _files(form, "resume"):
            fields["resume_text"] = (await _read_upload(files[0], "resume", service)).text
        fields["jobs"] = [
            {"id": file.filename, "title": read.title, "text": read.text}
            for number, file in enumerate(_files(form, "jobs"))
            for read in [await _read_upload(file, f"job-{number}", service)]
        ]
        return await service.compute(_ranking_of, _validated(RankBody, fields))


def check_type(request: Request, *allowed: str) -> None:
    """Refuse a body of another type.

    Raises:
        HTTPException: 415.
    """
    came = media_type(request.headers.get("content-type", ""))
    if came not in allowed:
        detail = f"expected a body of type {' or '.join(allowed)}, got {came or 'none'}"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def body_schema(schema: type[BaseModel], **files: bool) -> dict[str, Any]:
    """The request body of a route that reads either form, for its OpenAPI description.

    Args:
        schema: of the JSON form.
        files: names of files in the other form, each with whether there may be many.
    """
    given = schema.model_json_schema()
    given = _inlined(given, given.pop("$defs", {}))
    uploads: dict[str, Any] = {
        name: {"type": "array", "items": _FILE} if is_many else _FILE for name, is_many in files.items()
    }
    plain = {name: shape for name, shape in given["properties"].items() if name != "jobs"}
    form = {"type": "object", "properties": {**uploads, **plain}}
    return {"required": True, "content": {JSON: {"schema": given}, MULTIPART: {"schema": form}}}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, which would lead nowhere in the document that it becomes part of."""
    match node:
        case {"$ref": name}:
            return _inlined(definitions[name.rpartition("/")[2]], definitions)
        case dict():
            return {name: _inlined(value, definitions) for name, value in node.items()}
        case list():
            return [_inlined(each, definitions) for each in node]
    return node


async def _read_json(request: Request, schema: type[Body]) -> Body:
    check_type(request, JSON, MULTIPART)
    try:
        return schema.model_validate_json(await request.body())
    except ValidationError as error:
        raise _invalid(error) from None


def _validated(schema: type[Body], fields: dict[str, Any]) -> Body:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> RequestValidationError:
    items = error.errors(include_input=False, include_url=False, include_context=False)
    return RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in items])


def _check_form(form: FormData, texts: Mapping[str, str]) -> None:
    """Refuse what would be passed over; above all a user's name, without which the result is everybody's."""
    counts = Counter(name for name, _ in form.multi_items() if name != "jobs")
    files = {name for name, value in form.multi_items() if isinstance(value, UploadFile)}
    fields = {name for name, value in form.multi_items() if isinstance(value, str) and value}
    wrong = [(name, f"expected once, got {n} times") for name, n in counts.items() if n > 1]
    wrong += [(name, "expected no file of this name") for name in sorted(files - texts.keys())]
    wrong += [(text, "expected it as a field or as a file, got both") for text in _given_twice(texts, files, fields)]
    if wrong:
        raise RequestValidationError([{"loc": ("body", name), "msg": message} for name, message in wrong])


def _given_twice(texts: Mapping[str, str], files: set[str], fields: set[str]) -> list[str]:
    return [text for file, text in texts.items() if file in files and text in fields]


def _plain_fields(form: FormData) -> dict[str, Any]:
    """The fields that are no files; what a browser leaves blank is not given, but a user without a name is."""
    return {name: value for name, value in form.items() if isinstance(value, str) and (value or name == "user_id")}


def _files(form: FormData, name: str) -> list[UploadFile]:
    return [value for value in form.getlist(name) if isinstance(value, UploadFile)]


async def _read_upload(file: UploadFile, name: str, service: AIService) -> Document:
    suffix = PurePosixPath(file.filename or "").suffix.lower()
    data = await file.read()
    document = await service.compute(_document_of, data, f"{name}{suffix if suffix in SUFFIXES else '.unknown'}")
    if len(document.text) > MAX_DOCUMENT_CHARS:
        detail = f"{name}: expected a text of at most {MAX_DOCUMENT_CHARS:,} characters, got {len(document.text):,}"
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return document


def _document_of(data: bytes, name: str) -> Document:
    """Read a file by a name of our own: what a client calls it is nobody's path."""
    with tempfile.TemporaryDirectory(prefix="resumecache-") as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return read_document(path)


def _ranking_of(body: RankBody) -> RankInput:
    documents = [Document.from_text(job.text, path=Path(f"job-{number}")) for number, job in enumerate(body.jobs)]
    titled = [
        Document(document.path, document.text, job.title or document.title)
        for document, job in zip(documents, body.jobs, strict=True)
    ]
    ids = [str(number) if job.id is None else job.id for number, job in enumerate(body.jobs)]
    return RankInput(
        Document.from_text(body.resume_text, path=Path("resume")), titled, ids, body.top_k, body.candidate_id
    )
