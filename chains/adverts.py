"""Read a job ad line by line and clause by clause: what it demands, prefers, describes or only advertises. Pure.

The headings above a line say what kind of line it is, the words of a clause whether it demands, prefers or refuses what
it names. English and German.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MARKUP", "AdLine", "Clause", "Kind", "ad_lines", "clause_of", "is_preferred"]

Kind = Literal["open", "must", "nice", "duty", "past", "ignored"]


@dataclass(frozen=True, slots=True)
class AdLine:
    """A line of an ad.

    Attributes:
        text: its words, without bullet and label.
        start: index of their first character in the ad.
        kind: what the headings above say: the line demands ("must"), prefers ("nice"), describes work ("duty") or
            roles held before ("past"), advertises or excludes ("ignored"), or none of these ("open").
        is_item: whether it is an item of a list.
    """

    text: str
    start: int
    kind: Kind
    is_item: bool


# In this order: "nice, not needed" is nice to have, "you do not need" asks for nothing, "about you" is no "about us".
_HEADINGS: dict[Kind, str] = {
    "nice": (
        r"\bnice\b|good.to.have|preferred|bonus|\bplus(?:es)?\b|desirable|advantageous|optional|handy|wünschenswert|"
        r"von vorteil|idealerweise|pluspunkte?"
    ),
    "ignored": (
        r"\b(?:don.?t|do not|not) (?:need|require|for)\b|not looking for|nicht (?:mitbringen|brauchen)|"
        r"benefits?|perks|(?:what )?we (?:offer|give|pay)|offer you|compensation|salary|\Apay\b|money|package|"
        r"in return|"
        r"what you(?:.ll| will)? get|about (?:us|the company|our)|who we are|(?:our|the) company|"
        r"company (?:description|overview|profile|background)|equal (?:employment )?opportunity|equality|\beeo\b|"
        r"\Adiversity|how (?:to apply|we hire)|\b(?:hiring|application|interview) process|\Aprocess\b|"
        r"\Aapply\b|privacy|"
        r"disclaimer|\A(?:contact|location|company|unternehmen|working hours|interviews?)|wir (?:bieten|"
        r"bezahlen|zahlen)|"
        r"bieten wir|erwartet (?:dich|sie) bei uns|unser angebot|über uns|wer wir sind|kontakt|\Abewerbung|vergütung|"
        r"why (?:join|work)|\Awarum|in it for you|(?:deine|ihre) vorteile"
    ),
    "past": (
        r"\A(?:(?:required|work|working|professional|minimum|previous|relevant) )*experience(?: required)?\Z|"
        r"\Aberufserfahrung"
    ),
    "duty": (
        r"responsibilit|accountabilit|duties|you(?:.?(?:ll|d)| will| would)? (?:do|be doing)\b|"
        r"your (?:role|job|tasks|week)|the (?:role|work|job)\b|tasks|day.to.day|aufgaben|tätigkeit|\bmachen\b|"
        r"erwartet (?:dich|sie)|mission|week looks like"
    ),
    "must": (
        r"requirements?|required|\bneed(?:ed|s)?\b|qualifications?|skills?|must.have|should have|profile?\b|"
        r"you (?:have|bring|are|know)|you.?(?:ll|d) (?:need|bring|have)|look(?:ing)? for\b|about you|knowledge|"
        r"competenc(?:y|ies)|abilities|anforderung|voraussetzung|mitbring|bringst|qualifikation|kenntnisse|"
        r"fähigkeiten|"
        r"das bist du|zeichnet|expertise|technologies|tech stack|languages|sprachen|education|experience|erfahrung"
    ),
    "open": r"title|summary|description|overview|stellenbeschreibung|einleitung|position",
}
_HEADING = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _HEADINGS.items())
_HEADING_WORDS = 8
_SHOUTED_WORDS = 5
_LABEL_WORDS = 5
# Unmarked headings: made of nothing but such words, or starting like one after an empty line.
_PLAIN_HEADING = re.compile(
    r"(?:(?:job|required|requirements?|key|core|main|minimum|basic|technical|professional|preferred|desired|"
    r"essential|"
    r"additional|must|have|nice|to|good|and|&|/|your|our|the|what|we|you|you.ll|offer|bring|need|are|do|about|us|who|"
    r"looking|for|primary|soft|hard|work|personal|ihre?|deine?|unsere?|was|wir|bieten|dich|sie|dir|das|erwartet|mit|"
    r"und|erforderliche|fachliche|über|uns|qualifications?|skills?|experience|responsibilit(?:y|ies)|duties|benefits|"
    r"perks|summary|title|description|overview|knowledge|abilities|competencies|tasks|education|aufgaben|profil|"
    r"anforderungen|voraussetzungen|qualifikation(?:en)?|kenntnisse|fähigkeiten|angebot|mitbringst|mitbringen|"
    r"bringst|"
    r"kontakt|contact|role|company)\W*){1,6}",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"(?:what|who|how|why|you|your|we|our|the|in return|nice|good to have|was|wer|ihre?|deine?|das|"
    r"unser)\b",
    re.IGNORECASE,
)
_BULLET = re.compile(
    r"[\s>]*(?:(?:[-*•‣▪●◦·\u2013\u2014+✓✔➢»]|#(?=[.\w]))+(?![\d*])\s*|(?:\d{1,2}[.)]|\(?[a-z]\))[ \t]+)?[*_#\s]*"
)
_MARKED = re.compile(r"\s*(?:#{1,6}\s|\*\*|__)")
MARKUP = "*_#:`. \t"
_LINE = re.compile(r"[^\r\n]+")


def ad_lines(job: str) -> list[AdLine]:
    """Split an ad into its lines and give each the kind that the headings above it announce.

    Headings that say what follows are left out; others, and the title, are lines too. A label before a colon
    ("Skills: Java") is a heading as well; one about the company or about what is not needed holds for its paragraph.
    """
    lines: list[AdLine] = []
    kind: Kind = "open"  # of the section
    paragraph: Kind = "open"
    had_items, last_end = False, 0
    for m in _LINE.finditer(job):
        raw = m.group()
        skip, is_item = _bullet(raw)
        is_title, after_blank = last_end == 0, job.count("\n", last_end, m.start()) > 1
        last_end = m.end()
        words = raw[skip:].strip(MARKUP)
        announced = _heading_kind(raw, words, is_item=is_item, after_blank=after_blank)
        if announced and (not is_title or _PLAIN_HEADING.fullmatch(words)):
            kind = paragraph = announced
            had_items = False
            if _kind_of(words):
                continue
        elif had_items and after_blank and not is_item and len(words.split()) > _HEADING_WORDS:
            kind = "open"  # prose after a list is about something else
        label, after = ("", skip) if is_item else _label(raw, skip)
        labelled = _kind_of(label)
        kind = labelled if labelled in {"must", "nice", "duty"} else kind
        paragraph = labelled or (kind if is_item or after_blank else paragraph)
        had_items |= is_item
        lines.append(AdLine(raw[after:], m.start() + after, paragraph, is_item))
    return lines


def _heading_kind(raw: str, words: str, *, is_item: bool, after_blank: bool) -> Kind | None:
    """Return what a heading announces, "open" if it says nothing known, None if the line is no heading."""
    count = len(words.split())
    announces = raw.rstrip(" *_").endswith(":")
    if not 0 < count <= _HEADING_WORDS or (is_item and not announces):
        return None
    in_bold = _MARKED.match(raw) is not None and raw.rstrip().endswith(("*", "_", ":"))
    marked = in_bold or raw.lstrip().startswith("#")
    shouted = words.isupper() and count <= _SHOUTED_WORDS
    known = _kind_of(words)
    if marked or shouted:
        return known or "open"
    starts = after_blank and raw.rstrip()[-1] not in ".,;!" and _OPENER.match(words) is not None
    return known if announces or starts or _PLAIN_HEADING.fullmatch(words) else None


def _kind_of(words: str) -> Kind | None:
    return next((kind for kind, pattern in _HEADING if pattern.search(words)), None)


def _bullet(raw: str) -> tuple[int, bool]:
    """Return where the words of a line start, and whether it is an item of a list."""
    lead = _BULLET.match(raw)
    skip = lead.end() if lead else 0
    mark = raw[:skip].strip()
    return skip, mark not in {"", "**", "__"} and _MARKED.match(raw) is None


def _label(raw: str, skip: int) -> tuple[str, int]:
    """Return the label before a colon and where the rest starts; ("", skip) without one."""
    head, colon, rest = raw.partition(":")
    label = head[skip:].strip(MARKUP)
    if not colon or not rest.strip(MARKUP) or len(label.split()) > _LABEL_WORDS or not _kind_of(label):
        return "", skip
    return label, len(head) + 1


# --- One line of an ad ----------------------------------------------------------------------------------------------

_CLAUSE_BREAK = re.compile(
    r"(?<=[.;!?])\s+(?=[A-ZÄÖÜ(•*-])|;\s*|,?\s+(?=(?:but|however|though|whereas|aber|jedoch|sondern|"
    r"wohingegen)\b)"
)
_COMMA = re.compile(r",\s*")
_NICE_WORDS = (
    r"(?:a (?:big |huge |strong |definite |real )?plus|nice[ -]to[ -]have|(?:strongly |highly )?preferred|bonus|"
    r"ideally|desirable|(?:an |of )?advantage(?:ous)?|beneficial|optional|would be (?:good|great|nice|helpful)|"
    r"(?:is|are) welcome|von Vorteil|wünschenswert|idealerweise|optimalerweise|gerne auch|ein Plus|vorteilhaft|"
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
    r"\b(?:no|without|except(?:ing| for)?|excluding|minus|with the exception of|apart from|not (?:looking for|require|need|expect)|(?:don|doesn)['\u2019]t (?:need|require|expect)|"
    r"never used|"
    r"not (?:familiar|experienced|proficient)|lack of|unfamiliar|keine?(?:n|r|s|rlei)?|ohne|außer|sans|pas de|aucune?|hormis|f[aă]r[aă]|nu (?:este|sunt) necesar[eaă]?|cu excep[tț]ia)"
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
