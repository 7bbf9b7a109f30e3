"""What a text says of a person is taken out before it leaves, and put back into what comes back. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.resume_facts import contact_data, resume_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = re.compile(r"[^\W\d_]{2,}")
_LABEL = re.compile(r"[#*_\s]*[^\W\d_-]+(?:-[^\W\d_]+)?\s*:")
_NO_NAMES = frozenset({"curriculum", "vitae", "resume", "résumé", "lebenslauf", "cv"})
_LONGEST_NAME_WORDS = 5


@dataclass(frozen=True, slots=True)
class PrivateTexts:
    """A resume and an ad without what tells who somebody is.

    Attributes:
        resume: without its identity lines; a name that stands elsewhere in it is a placeholder.
        job: with placeholders for addresses and telephone numbers.
        placeholders: each with the words that it stands for.
    """

    resume: str
    job: str
    placeholders: tuple[tuple[str, str], ...]

    def hide(self, text: str) -> str:
        """The text with placeholders for what they stand for."""
        by_words = {words: placeholder for placeholder, words in self.placeholders}
        pattern = _any_of(by_words)
        return pattern.sub(lambda found: by_words[found.group()], text) if pattern else text

    def restore(self, text: str) -> str:
        """The text with the words that its placeholders stand for."""
        for placeholder, words in self.placeholders:
            text = text.replace(placeholder, words)
        return text


def without_identity(resume: str, job: str) -> PrivateTexts:
    """Cut the lines that say who a resume is about, and replace the name and contact data that are left.

    Args:
        resume: as `clean_text` leaves it.
        job: the ad.
    """
    spans = resume_facts(resume).identity
    lines = [resume[span.start : span.end] for span in spans]
    kept = resume
    for span in reversed(spans):
        kept = f"{kept[: span.start]}{kept[span.end :].removeprefix(chr(10))}"
    names = _name_words(lines, f"{kept}\n{job}")
    hidden = {"NAME": _spellings(names, f"{kept}\n{job}"), "CONTACT": contact_data(job)}
    placeholders = tuple(_placeholders(hidden, f"{resume}\n{job}"))
    texts = PrivateTexts(kept, job, placeholders)
    return PrivateTexts(texts.hide(kept).strip(), texts.hide(job), placeholders)


def _name_words(lines: list[str], rest: str) -> list[str]:
    """The words of a name: of the first line that has no contact data; a word that is none is written small too."""
    for line in lines:
        words = _WORD.findall(_LABEL.sub("", line))
        names = [word for word in words if word.casefold() not in _NO_NAMES]
        if names and not contact_data(line):
            is_name = len(names) <= _LONGEST_NAME_WORDS and all(word[0].isupper() or len(word) <= 3 for word in names)  # noqa: PLR2004  "van"
            small = set(_WORD.findall(rest))
            return [word for word in names if word[0].isupper() and word.casefold() not in small] if is_name else []
    return []


def _spellings(words: list[str], text: str) -> list[str]:
    """The words as they stand in a text, in their order there: "WEBER" is "Weber" too."""
    asked = {word.casefold() for word in words}
    return [found for found in dict.fromkeys(_WORD.findall(text)) if found.casefold() in asked]


def _placeholders(hidden: dict[str, list[str]], taken: str) -> Iterator[tuple[str, str]]:
    """A placeholder for each of the words, none of which stands in the texts already."""
    for kind, all_words in hidden.items():
        number = 0
        for words in dict.fromkeys(all_words):
            number += 1
            while f"[{kind}_{number}]" in taken:
                number += 1
            yield f"[{kind}_{number}]", words


def _any_of(words: dict[str, str]) -> re.Pattern[str] | None:
    """Any of the words where they stand alone; longer ones first."""
    if not words:
        return None
    ordered = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, ordered))})(?![^\W_])")
