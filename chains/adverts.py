"""Read a job ad line by line: what it demands, prefers, describes or only advertises. Pure.

The headings above a line say what kind of line it is. English, German, French and Romanian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["MARKUP", "AdLine", "Kind", "ad_lines"]

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
        r"von vorteil|idealerweise|pluspunkte?|appréciés?|souhaités?|\batouts?\b|serait un plus|"
        r"constituie (?:un )?avantaj|avantaje? |reprezint[aă] (?:un )?avantaj|de preferat"
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
        r"why (?:join|work)|\Awarum|in it for you|(?:deine|ihre) vorteile|"
        r"nous (?:offrons|proposons)|avantages|rémunération|qui sommes.nous|notre entreprise|à propos|pourquoi nous|"
        r"(?:ce )?[iî][tțţ]i oferim|ce oferim|oferim|beneficii|despre (?:noi|companie)|compania noastr[aă]|"
        r"\bsalari|\bpachet"
    ),
    "past": (
        r"\A(?:(?:required|work|working|professional|minimum|previous|relevant) )*experience(?: required)?\Z|"
        r"\Aberufserfahrung|\Aexpérience (?:requise|professionnelle)|"
        r"\Aexperien[tțţ][aă](?: necesar[aă]| profesional[aă])?\Z"
    ),
    "duty": (
        r"responsibilit|accountabilit|duties|you(?:.?(?:ll|d)| will| would)? (?:do|be doing)\b|"
        r"your (?:role|job|tasks|week)|the (?:role|work|job)\b|tasks|day.to.day|aufgaben|tätigkeit|\bmachen\b|"
        r"erwartet (?:dich|sie)|missions?\b|week looks like|"
        r"vos tâches|responsabilit|descrierea (?:postului|jobului)|sarcini|ce vei face|atribu[tțţ]ii"
    ),
    "must": (
        r"requirements?|required|\bneed(?:ed|s)?\b|qualifications?|skills?|must.have|should have|profile?\b|"
        r"you (?:have|bring|are|know)|you.?(?:ll|d) (?:need|bring|have)|look(?:ing)? for\b|about you|knowledge|"
        r"competenc(?:y|ies)|abilities|anforderung|voraussetzung|mitbring|bringst|qualifikation|kenntnisse|"
        r"fähigkeiten|"
        r"das bist du|zeichnet|expertise|technologies|tech stack|languages|sprachen|education|experience|erfahrung|"
        r"profil recherché|compétences|exigences|connaissances|vous (?:avez|êtes)|votre profil|\bformation|expérience|"
        r"cerin[tțţ]e|competen[tțţ]e|cuno[sșş]tin[tțţ]e|abilit[aă][tțţ]i|aptitudini|calific[aă]ri|candidatul ideal|"
        r"experien[tțţ]|studii|limbi str[aă]ine|ce c[aă]ut[aă]m|profilul"
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
