"""Numbers in a text, with what they count: "four engineers" and "4 engineers" are the same. Pure.

Digits of any script, numbers in words (English, German, French, Spanish), dozens, thousands, per cent: all are read.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from text_to_num import alpha2digit

from chains.words import Language, is_small, stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_READ: dict[Language, str] = {"english": "en", "german": "de", "french": "fr", "spanish": "es"}  # numbers in words
_SCALES = {
    "k": 1_000, "tsd": 1_000, "thousand": 1_000, "tausend": 1_000, "mille": 1_000, "mil": 1_000,
    "m": 1_000_000, "mio": 1_000_000, "million": 1_000_000, "millionen": 1_000_000, "millions": 1_000_000,
    "millones": 1_000_000, "bn": 1_000_000_000, "mrd": 1_000_000_000, "billion": 1_000_000_000,
    "milliarden": 1_000_000_000, "hundred": 100, "hundert": 100, "dozen": 12, "dutzend": 12,
}  # fmt: skip
_DOZEN = re.compile(r"\b(?:an? |ein(?:em|en)? |une |una )?(?:dozen|dutzend|douzaine|docena)\b", re.IGNORECASE)
_DECADE = re.compile(r"\b(?:a |one |ein |einem )?(?:decade|jahrzehnt)\b", re.IGNORECASE)
_PERCENT = re.compile(r"(?<=\d)\s*(?:%|per\s?cent\b|prozent\b|pour cent\b|por ciento\b)", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d)[,.\u2019' \u202f\u00a0](?=\d{3}(?:\D|\Z))")
_MULTIPLIED = re.compile(
    r"(?<![\d.,])(\d+(?:\.\d+)?) (1000(?:000){0,2})(?!\d)"
)  # "3 million", with its words in digits
_TOKEN = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)?)(?P<scale>k|m|bn)?\b|(?P<word>[^\W\d_]+)|(?P<sign>[%+])|(?P<border>[,;:.()\n!?])"
)
_DATE = re.compile(r"(?<!\d)(?:(?:\d{1,2}[./])?\d{1,2}[./-])?(?:19|20)\d\d(?!\d)(?!\s*%)")
_BORDER_WORDS = frozenset({"and", "und", "et", "y", "or", "oder"})
_AFTER, _BEFORE = 3, 4


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and what stands around it.

    Attributes:
        value: the number.
        is_percent: whether it is a share.
        is_open: whether a plus sign follows.
        heads: stems of the next words of its clause, at most three; the first is what is counted.
        before: stems of the words before it in its clause, at most four.
        rest: stems of all words after it in its clause.
    """

    value: Decimal
    is_percent: bool
    is_open: bool
    heads: tuple[str, ...]
    before: tuple[str, ...]
    rest: tuple[str, ...]

    @property
    def around(self) -> frozenset[str]:
        """Stems of the words on both sides."""
        return frozenset(self.heads + self.before)

    def is_same(self, source: Quantity) -> bool:
        """Say whether a source has the same number of the same thing."""
        if (self.value, self.is_percent) != (source.value, source.is_percent) or self.is_open > source.is_open:
            return False
        if self.is_percent or not self.heads:
            return bool(self.around & source.around) or not (self.around and source.around)
        return self.heads[0] in (source.heads or source.before) and self._is_of_the_same(source)

    def _is_of_the_same(self, source: Quantity) -> bool:
        """Years are of something: "7 years of Python" are not 7 years."""
        return self.heads[0] not in _YEARS or set(self.rest) - _EXPERIENCE <= set(source.rest) | set(source.before)


def _stems_of(words: Mapping[Language, str]) -> frozenset[str]:
    return frozenset(stem(word, language) for language, some in words.items() for word in some.split())


_YEARS = _stems_of(
    {
        "english": "year years", "german": "Jahr Jahre Jahren", "french": "an ans années", "spanish": "año años",
        "romanian": "an ani",
    }
)  # fmt: skip
_EXPERIENCE = _stems_of(
    {
        "english": "experience work", "german": "Erfahrung Berufserfahrung", "french": "expérience",
        "spanish": "experiencia", "romanian": "experiență",
    }
)  # fmt: skip


def plain_digits(text: str) -> str:
    """A text with the digits of every script as ASCII ones, in one form of Unicode."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in plain)


def dates(text: str) -> list[str]:
    """The years, and months of years, that a text names, in order."""
    return _DATE.findall(plain_digits(text))


def quantities(text: str, language: Language) -> list[Quantity]:
    """The numbers of a text that are no dates; "one" is an article as often as a number and is left out."""
    tokens = list(_TOKEN.finditer(_in_digits(text, language)))
    found = (_quantity(tokens, at, language) for at, token in enumerate(tokens) if token["number"])
    return [quantity for quantity in found if quantity.value != 1]


def _in_digits(text: str, language: Language) -> str:
    plain = _DATE.sub(" ", plain_digits(text))
    plain = _DECADE.sub("10 years", _DOZEN.sub("12", plain))
    code = _READ.get(language)
    lines = [alpha2digit(line, code, 0) if code and line.strip() else line for line in plain.split("\n")]
    digits = _MULTIPLIED.sub(lambda found: f"{Decimal(found[1]) * int(found[2]):f}", "\n".join(lines))
    return _PERCENT.sub(" %", _THOUSANDS.sub("", digits))


def _quantity(tokens: list[re.Match[str]], at: int, language: Language) -> Quantity:
    number = tokens[at]
    value = Decimal(number["number"].replace(",", ".")) * _SCALES.get(number["scale"] or "", 1)
    after = tokens[at + 1 :]
    if after and (scale := _SCALES.get((after[0]["word"] or "").casefold(), 1)) > 1 and len(after[0].group()) > 1:
        value, after = value * scale, after[1:]
    sign = after[0]["sign"] if after else None
    rest = _content(after, language)
    before = _content(reversed(tokens[:at]), language)
    return Quantity(value.normalize(), sign == "%", sign == "+", rest[:_AFTER], before[:_BEFORE], rest)


def _content(tokens: Iterable[re.Match[str]], language: Language) -> tuple[str, ...]:
    """Stems of the words up to the border of the clause or the next number."""
    found: list[str] = []
    for token in tokens:
        word = (token["word"] or "").casefold()
        if token["number"] or token["border"] or word in _BORDER_WORDS:
            break
        if word and not is_small(word, language):
            found.append(stem(word, language))
    return tuple(found)
