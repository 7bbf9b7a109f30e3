"""What surrounds a mention: whether its clause demands, prefers or refuses what it names. Pure.

English, German, French and Romanian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clause", "clause_of", "is_preferred"]

_CLAUSE_BREAK = re.compile(
    r"(?<=[.;!?])\s+(?=[A-ZÄÖÜ(•*-])|;\s*|,?\s+(?=(?:but|however|though|whereas|aber|jedoch|sondern|"
    r"wohingegen)\b)"
)
_COMMA = re.compile(r",\s*")
_NICE_WORDS = (
    r"(?:a (?:big |huge |strong |definite |real )?plus|nice[ -]to[ -]have|(?:strongly |highly )?preferred|bonus|"
    r"ideally|desirable|(?:an |of )?advantage(?:ous)?|beneficial|optional|would be (?:good|great|nice|helpful)|"
    r"(?:is|are) welcome|von Vorteil|wünschenswert|idealerweise|optimalerweise|gerne auch|ein Plus|vorteilhaft|"
    r"serait un plus|est un plus|un atout|appréciée?s?|souhaitée?s?|idéalement|constituie (?:un )?(?:avantaj|plus)|"
    r"reprezint[aă] (?:un )?(?:avantaj|plus)|de preferat|"
    r"nicht zwingend)\b"
)
_WISH_WORDS = r"(?:preferably|vorzugsweise|bevorzugt|am liebsten)\b"
_NICE = re.compile(rf"\b{_NICE_WORDS}", re.IGNORECASE)
_PREFERABLY = re.compile(rf"\b{_WISH_WORDS}", re.IGNORECASE)
_NICE_ASIDE = re.compile(rf"\((?:is |are |ist |sind )?(?:{_NICE_WORDS}|{_WISH_WORDS})", re.IGNORECASE)
_MUST = re.compile(
    r"\b(?:must|required?|requires|essential|mandatory|need(?:ed)?|necessary|zwingend|erforderlich|notwendig|"
    r"setzen wir voraus)\b",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()]*\)")
_NOT_BEFORE = re.compile(
    r"\b(?:no|without|except(?:ing| for)?|excluding|minus|with the exception of|apart from|"
    r"not (?:looking for|require|need|expect)|(?:don|doesn)['\u2019]t (?:need|require|expect)|"
    r"never used|"
    r"not (?:familiar|experienced|proficient)|lack of|unfamiliar|keine?(?:n|r|s|rlei)?|ohne|außer|"
    r"sans|pas de|pas d.exp.rience en|aucune?|hormis|f[aă]r[aă]|cu excep[tțţ]ia)"
    r"(?>\s+(?:prior|previous|formal|deep|special|further|any|knowledge|experience|background|expertise|"
    r"skills?|coding|"
    r"programming|of|in|with|or|nor|and|(?:vor)?kenntnisse|erfahrung|mit|von|oder|und|"
    r"(?-i:[A-Z])[\w+#.]*),?)*+[\s/-]{0,3}\Z",
    re.IGNORECASE,
)
_NOT_AFTER = re.compile(
    r"[-\w]*(?>\s+(?:is|are|ist|sind|wird|werden|experience|knowledge|skills?|kenntnisse|"
    r"(?:or|and|oder|und)\s+[\w+#.]+))*+"
    r"(?:n['\u2019]t|\s+(?:not|nicht|isn['\u2019]t|aren['\u2019]t))\s+(?:\w+\s+)?"
    r"(?:needed|required?|necessary|essential|mandatory|a must|a requirement|erforderlich|nötig|notwendig|"
    r"benötigt|gebraucht|gefordert|voraussetzung)\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"[\s,]*(?:but|aber|jedoch)\b[^.;]*")
_BOILERPLATE = re.compile(
    r"equal[ -](?:employment )?opportunity|regardless of|without regard to|401\s?\(?k|"
    r"paid (?:time off|holidays|vacation)|\bPTO\b|\bwe offer\b|\bwir bieten\b|benefits (?:include|package)|"
    r"visa sponsorship|background check|"
    r"competitive (?:pay|salary)|reasonable accommodation|unabhängig von (?:geschlecht|herkunft)|"
    r"schwerbehindert|"
    r"retirement plan|health insurance",
    re.IGNORECASE,
)
_LINE_END = re.compile(r"\n")
_NEW_ITEM = re.compile(r"\s*(?:\n|[-*•‣▪●◦·\u2013\u2014+#|]|\d{1,2}[.)]\s)")
_WRAPPED_FROM = 60  # characters: a shorter line ends because its thought does
_REACH = 300  # characters of a line that can bear on a mention; bounds the work on a text without line breaks


def is_preferred(words: str) -> bool:
    """Say whether words call what they name nice to have, in English or German."""
    return _NICE.search(words) is not None or _PREFERABLY.search(words) is not None


@dataclass(frozen=True, slots=True)
class Clause:
    """What surrounds a mention.

    Attributes:
        words: the clause.
        start: where the mention starts in it.
        end: where the mention ends in it.
        rest: what follows the clause in its line.
    """

    words: str
    start: int
    end: int
    rest: str

    @property
    def is_boilerplate(self) -> bool:
        """True in a legal notice or a list of benefits."""
        return _BOILERPLATE.search(self.words) is not None

    @property
    def refuses(self) -> bool:
        """True where the mention is said to be lacking or not needed."""
        before, after = self.words[: self.start], self.words[self.end :]
        return _NOT_BEFORE.search(before) is not None or _NOT_AFTER.match(after) is not None

    @property
    def welcomes(self) -> bool:
        """True where "not required" goes on to "but a plus"."""
        but = _BUT.match(self.rest)
        return but is not None and is_preferred(but.group())

    @property
    def prefers(self) -> bool:
        """True where the mention is only nice to have; an aside in brackets speaks of the word before it."""
        aside = _ASIDE.match(self.words[self.end :].lstrip())
        if aside and _NICE_ASIDE.match(aside.group()):
            return True
        inside = any(m.start() < self.start < m.end() for m in _ASIDE.finditer(self.words))
        plain = self.words if inside else _ASIDE.sub(lambda m: " " * len(m.group()), self.words)
        wish = _PREFERABLY.search(plain)
        return _NICE.search(plain) is not None or (wish is not None and wish.start() < self.start)


def clause_of(text: str, start: int, end: int) -> Clause:
    """Return the clause around `text[start:end]`; commas divide only what says both "must" and "a plus".

    A line end divides unless prose is wrapped there: a long line, and no list item after it.
    """
    low, high = max(0, start - _REACH), min(len(text), end + _REACH)
    low, high = _between((m for m in _LINE_END.finditer(text, low, high) if _divides(text, m)), start, end, low, high)
    left, right = _between(_CLAUSE_BREAK.finditer(text, low, high), start, end, low, high)
    if _NICE.search(text, left, right) and _MUST.search(text, left, right):
        left, right = _between(_COMMA.finditer(text, left, right), start, end, left, right)
    return Clause(text[left:right], start - left, end - left, text[right:high])


def _divides(text: str, line_end: re.Match[str]) -> bool:
    at = line_end.start()
    return at - text.rfind("\n", 0, at) < _WRAPPED_FROM or _NEW_ITEM.match(text, line_end.end()) is not None


def _between(breaks: Iterator[re.Match[str]], start: int, end: int, low: int, high: int) -> tuple[int, int]:
    """Narrow the bounds to the nearest breaks before and after a mention."""
    for m in breaks:
        if m.end() <= start:
            low = m.end()
        elif m.start() >= end:
            return low, m.start()
    return low, high
