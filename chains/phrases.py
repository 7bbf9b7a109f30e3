"""The short phrases and new names with which an ad asks for skills that no taxonomy has. Pure.

Of a list item "Excellent knowledge of design trends" the core is "design trends"; a new name is capitalised and follows
words like "experience with", or is a code such as "F5".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from chains.adverts import MARKUP, AdLine
from chains.taxonomy import SkillMention, is_tool, starts_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Phrase", "content_words", "new_names", "phrases"]

_QUALITY = (
    r"an?|the|any|some|various|other|overall|matured?|able|quick|strong|excellent|good|great|solid|proven|demonstrated|basic|advanced|deep|in-depth|"
    r"thorough|"
    r"sound|working|hands-on|extensive|exceptional|outstanding|superior|highly|high(?:[ -]level of)?|level of|"
    r"substantial|considerable|effective|comprehensive|broad|previous|prior|relevant|practical|professional|"
    r"expert|"
    r"must have|essential|top-notch|profound|superb|stellar|sharp|keen|remarkable|impressive|rich|exemplary|"
    r"polished|"
    r"brilliant|notable|valuable|efficient|wide|vast|complete|full|robust|genuine|certified|ample|fine|"
    r"sufficient|"
    r"adequate|significant|minimum|well-developed|clear|intermediate|"
    r"sehr|gute?[nrms]?|fundierte?[nrs]?|solide|ausgeprägte?[nrs]?|hohe?[nrs]?|sichere?[nrs]?|umfassende|erste|"
    r"tr[eè]s|bonnes?|excellentes?|solides?|foarte|bune|bun[aă]|solid[aăe]|excelente|avansate|mehrjährige|einschlägige|nachgewiesene|ausgezeichnete|hervorragende|tiefgehende|praktische|idealerweise"
)
_NOUN = (
    r"knowledge|understanding|experienced?|expertise|proficiency|proficient|familiarity|familiar|skills?|"
    r"skilled|"
    r"ability|capacity|capability|aptitude|competence|competent|competency|command|grasp|background|exposure|"
    r"use|"
    r"mastery|fluency|fluent|expert|awareness|track record|capable|able|versed|adept|comfortable|willingness|"
    r"excel|"
    r"connaissances?|exp[ée]rience|ma[iî]trise|capacit[ée]|aptitude|comp[ée]tences?|cuno[sșş]tin[tțţ]e|experien[tțţ][aă]|abilit[aă][tțţ]i|capacitate(?:a)?|cunoa[sșş]tere(?:a)?|"
    r"kenntnisse|erfahrung(?:en)?|umgang|verständnis|fähigkeit|wissen|beherrschung|vertraut"
)
_LEAD_YEARS = (
    r"(?:at least |minimum(?: of)? |over |mindestens |mind\. )?\d+ ?\+?(?: ?(?:-|\u2013|to|bis) ?\d+)? ?\+? ?"
    r"(?:years?|yrs?|jahre)['\u2019]?(?: of)? (?:\w+ )?(?:experience|erfahrung|berufserfahrung)"
    r"(?: (?:in|with|of|as|mit|als))? "
)
_LEAD = re.compile(
    rf"\s*(?:{_LEAD_YEARS}|(?:{_QUALITY})[,\s]+(?:and |und )?|(?P<noun>"
    rf"(?:[\w-]+\s+){{0,2}}?(?P<head>{_NOUN})(?:\s+(?:and|or|und|&)\s+(?:{_NOUN}))?\s+"
    r"(?:of|in|with|on|at|as|about|mit|im|von|der|des|de|en|du|avec|cu|[iî]n|privind|using|working with|the use of)\s+"
    r"|(?:\w+\s+)?(?:ability|able|fähigkeit|capacity|aptitude|capability|skills?|willingness|capable|"
    r"knowledge)\s+"
    r"(?:to|for|zu|zur|of)\s+)|(?:well|be)\s+)",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"[\s,(:-]{0,4}(?>\b(?:skills?|abilit(?:y|ies)|capabilit(?:y|ies)|experience|knowledge|expertise|"
    r"proficiency|"
    r"(?!family|assembly|supply|early)\w{3,}ly|(?:is|are)(?: an?)?|"
    r"required?|(?:a )?must(?: have)?|needed|necessary|important|essential|mandatory|(?:a )?plus|preferred|"
    r"demanded|"
    r"desirable|(?:an )?advantage|would be (?:nice|great|good)|"
    r"erforderlich|wünschenswert|von vorteil|kenntnisse|erfahrung)\b|[\s.,;:)*_`])++\Z",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"\s(?:to (?!work|the|detail)|that |which |who |when |where |while |in order|such as|including|"
    r"with (?:a|an|the|focus)|using|like |e\.g|i\.e|especially|particularly|preferably|suited|"
    r"in (?:all|every|various|a(?! team)|the|order|dealing|handling|providing)|as (?:relates|well|per|part|"
    r"given)|through|within|"
    r"across|from |via |by |is |are |sowie|wie |um |zur |zum |auf |insbesondere)",
    re.IGNORECASE,
)
_FOR = re.compile(r"\sfor ", re.IGNORECASE)
_NO_SKILL = re.compile(
    r"\b(?:degree|bachelor\w*|master['\u2019]?s|diploma|phd|ph\.d|doctorate|mba|studium|ausbildung|weiterbildung|"
    r"berufserfahrung|abschluss|hochschul\w*|years?|yrs|hours?|jahre?n?|candidates?|applicants?|equivalent|"
    r"gpa|salary|team members|etc|"
    r"school|ged|certificate of|opportunity|"
    r"i|we|us|our|ours|you|yours?|yourself|he|she|it|its|they|them|this|that|these|those|there|here|who|what|when|where|"
    r"why|how|which|is|are|was|were|be|been|am|do|does|did|has|have|had|having|will|would|can|could|may|might|must|should|"
    r"not|no|never|neither|nor|don|isn|aren|doesn|so|though|although|because|if|then|than|just|even|only|also|either|"
    r"always|often|very|really|please|apply|one|some|somebody|something|anything|people|others|good|rather|"
    r"wir|uns|unser\w*|sie|ihr\w*|du|dein\w*|es|das|dies\w*|ist|sind|war|waren|wird|werden|hat|haben|kann|nicht|kein\w*|"
    r"denn|weil|da|wenn|auch|nur|noch|schon|gern|bitte|je|eine?[mnrs]?)\b",
    re.IGNORECASE,
)
_BAD_START = re.compile(
    r"(?:at|in|on|of|for|from|to|by|with|without|as|and|or|but|into|per|under|over|about|around|up|like|e\.g|"
    r"mit|von|für|auf|aus|bei|nach|zum|zur|und|oder|sowie|bzw)\b|[^\w\"'(.&]|\d",
    re.IGNORECASE,
)
_SMALL = frozenset("""
    a an and as at by for from in into is of on or the their to up with skill skills ability abilities knowledge strong
    good excellent experience understanding proficiency work working well other various related required
    und oder der die das des den dem ein eine im mit von zu zur zum für auf fähigkeit kenntnisse
""".split())  # noqa: SIM905 - forty words read better as text than as a list  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_EDGE = MARKUP + ",;-&|"
_HEAD = re.compile(r"[^:.;]{3,60}?(?=\s?:|\s[-\u2013\u2014]\s)")
_PART_BREAK = re.compile(r"[,;]\s(?:and |or |und |oder )?|\s\|\s|\.\s(?=[A-Z])")
_ANNOUNCES = re.compile(
    r"following|skills? (?:in|with|are|include)|includ(?:e|es|ing)\b|such as|proficient in|"
    r"folgende",
    re.IGNORECASE,
)
_CUE_WORDS = (
    r"(?:experience (?:with|in|using|of)|experienced (?:with|in)|knowledge (?:of|in)|proficien(?:t|cy) (?:in|"
    r"with)|"
    r"familiar(?:ity)? with|expertise (?:in|with)|understanding of|skilled in|certified in|"
    r"exposure to|"
    r"background in|versed in|use of|Kenntnisse (?:in|von|der|des|im)|Erfahrung(?:en)? (?:mit|in|im)|"
    r"Umgang mit|"
    r"vertraut mit) "
)
_CUES = re.compile(_CUE_WORDS, re.IGNORECASE)
_NAMED = re.compile(rf"{_CUE_WORDS}\Z", re.IGNORECASE)
_LONGEST_CUE = 24

_MASK = "\u00de"  # a capital letter that no ad uses
_NAME = rf"(?:[A-Z{_MASK}]|[a-z]{{1,4}}(?=[A-Z]))[\w+#.-]*[\w+#](?: (?:[A-Z{_MASK}][\w+#.-]*[\w+#]|\d[\w.]*))*"
_ONE_NAME = re.compile(_NAME)
_NAME_LIST = re.compile(rf"\b{_NAME}(?:(?:, ?(?:and |or |und |oder )?| ?/ ?| (?:and|or|und|oder|&) ){_NAME})*")
_ACRONYM = re.compile(r"(?<=\()[A-Z][A-Za-z]?[A-Z0-9&]{1,5}(?=\))")
_CODE = re.compile(r"\b(?:[A-Z]{1,5}\d{1,4}|[A-Z]{2,6})\b(?![-/.'\u2019&]\w)")
_CODED = re.compile(r"[A-Z]{2}|[a-z][A-Z]|\d")
_GERMAN = re.compile(r"\b(?:und|mit|der|die|wir|sie|oder|für)\b")
_CORE_WORDS = 7
_LINE_WORDS = 8
_SHORT_WORDS = 6
_WORDING_WORDS = 9
_NAME_WORDS = 4
_PART_LENGTH = 200
_SCRAP = re.compile(r"\s*[a-zäöü]{1,20}[\s.)]*\Z")  # a lone word between the commas of a sentence


def content_words(text: str) -> list[str]:
    """Return the lower-case words of a phrase that carry its meaning: without "and", "skills", "strong"."""
    return [w for w in (m.group().casefold() for m in _WORD.finditer(text)) if w not in _SMALL]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A short list item.

    Attributes:
        core: what is asked for ("design trends").
        start: index of its first character in the ad.
        wordings: the ways the item puts it.
    """

    core: str
    start: int
    wordings: tuple[str, ...]

    @property
    def end(self) -> int:
        """Index after the last character of the core."""
        return self.start + len(self.core)


@dataclass(frozen=True, slots=True)
class _Core:
    """Indices into an item: where wordings can start (the core last), where the core ends, and where its tail ends."""

    starts: tuple[int, ...]
    end: int
    tail: int


def phrases(line: AdLine) -> Iterator[Phrase]:
    """Yield the cores of a short list item, or of the short parts of an enumeration."""
    short = len(line.text.split()) <= _LINE_WORDS
    for part, at in _parts(line.text) if line.is_item or short or line.text.count(",") > 1 else _cued(line.text):
        found = _core(part)
        core = part[found.starts[-1] : found.end]
        was_cut = found.tail < len(part.rstrip(_EDGE))
        if _is_skill_like(core) and not (was_cut and _SCRAP.match(core)):
            said = (part[start:end].rstrip(_EDGE) for start in found.starts for end in (found.tail, found.end))
            brief = dict.fromkeys(w for w in said if len(w.split()) <= _WORDING_WORDS)
            yield Phrase(core, line.start + at + found.starts[-1], tuple(brief))


def _is_skill_like(core: str) -> bool:
    """Say whether a core can name a skill: short, with a word that means something, and no piece of a sentence."""
    words = len(core.split())
    return words <= _CORE_WORDS and bool(content_words(core)) and not (_NO_SKILL.search(core) or _BAD_START.match(core))


def _parts(text: str) -> list[tuple[str, int]]:
    """Split an item into its short parts with their offsets.

    Of "Analysis: ability to ..." that is the head, of "the following: a, b" the enumeration, of a sentence what follows
    each cue ("knowledge of a and b"); a short item is one part.
    """
    start, end = 0, len(text)
    head = _HEAD.match(text)
    if head and _ANNOUNCES.search(head.group()):
        start = head.end()
    elif head and len(head.group().split()) <= _CORE_WORDS:
        end = head.end()
    parts = _split(text, start, end)
    if sum(len(part) for part, _ in parts) < end - start - _PART_LENGTH or any(map(_is_sentence, parts)):
        parts += _cued(text[:end])
    return parts if _is_enumeration(parts) else [(part, at) for part, at in parts if not _SCRAP.match(part)]


def _is_enumeration(parts: list[tuple[str, int]]) -> bool:
    return len(parts) == 1 or all(len(part.split()) <= _NAME_WORDS for part, _ in parts)


def _is_sentence(part: tuple[str, int]) -> bool:
    return len(part[0][_core(part[0]).starts[-1] :].split()) > _SHORT_WORDS


def _split(text: str, start: int, end: int) -> list[tuple[str, int]]:
    """Split at commas, bars and full stops; what is too long to name a skill is left out."""
    cuts = [m.span() for m in _PART_BREAK.finditer(text, start, end)]
    bounds = [start, *(e for _, e in cuts)], [*(s for s, _ in cuts), end]
    parts = ((text[a:b], a) for a, b in zip(*bounds, strict=True) if b - a <= _PART_LENGTH)
    return [(part, at) for part, at in parts if part.strip(_EDGE)]


def _cued(text: str) -> list[tuple[str, int]]:
    """Return the short parts that follow each cue of a sentence, but not the words that lead to the next cue."""
    cues = [m.span() for m in _CUES.finditer(text)]
    parts: list[tuple[str, int]] = []
    for (_, start), (stop, _) in pairwise([*cues, (len(text), 0)]):
        found = _split(text, start, stop)
        parts += found if stop == len(text) or len(found) == 1 else found[:-1]
    return parts


def _core(part: str) -> _Core:
    """Take off how well a skill is wanted ("strong knowledge of", "is required")."""
    starts = _starts(part)
    at = starts[-1]
    cuts = sorted(m.start() for m in (_CUT.search(part, at), _FOR.search(part, at)) if m)
    if cuts and part[:at].endswith("to ") and _FOR.match(part, cuts[0]):
        del cuts[0]  # "ability to stand for long periods"
    tail = _balanced(part, at, len(part[: cuts[0] if cuts else len(part)].rstrip(_EDGE)))
    drop = _TAIL.search(part, at, tail)
    # One word alone says too little: "Medical Knowledge" stays whole.
    end = drop.start() if drop and len(content_words(part[at : drop.start()])) > 1 else tail
    return _Core(starts, _balanced(part, at, end), tail)


def _balanced(part: str, at: int, end: int) -> int:
    """Return an end that leaves no bracket open."""
    if part.count("(", at, end) == part.count(")", at, end):
        return max(at, end)
    return max(at, len(part[: max(at, part.rfind("(", at, end))].rstrip(_EDGE + ")")))


def _starts(part: str) -> tuple[int, ...]:
    """Return where wordings can start: at the item's first word, at "knowledge of", and last at the core."""
    at = len(part) - len(part.lstrip(_EDGE))
    starts, was_quality = [at], True
    while (lead := _LEAD.match(part, at)) and part[lead.end() :].strip(_EDGE + ")"):
        if was_quality or lead["noun"]:
            starts += [at, max(at, lead.start("head"))]
        at, was_quality = lead.end(), lead["noun"] is None
    return tuple(dict.fromkeys([*starts, at]))


def new_names(line: AdLine, mentions: list[SkillMention]) -> Iterator[SkillMention]:
    """Yield capitalised names that follow a cue ("experience with Foobarix") or are listed among known tools.

    German capitalises every noun and a line about the past names roles: there only codes count ("XYZ", "FooBar").
    """
    coded_only = line.kind == "past" or _GERMAN.search(line.text) is not None
    masked = _mask(line, mentions)
    for listed in _NAME_LIST.finditer(masked):
        before = masked[max(0, listed.start() - _LONGEST_CUE) : listed.start()]
        if (_MASK in listed.group() and line.kind != "open") or _NAMED.search(before):
            for m in _ONE_NAME.finditer(masked, *listed.span()):
                opens = starts_sentence(masked, m.start())
                if _is_new_name(m.group(), coded_only=coded_only or opens):
                    yield _mention_at(line, m)
    yield from (_mention_at(line, m) for m in _ACRONYM.finditer(line.text) if _spelled_out(line.text, m))
    if line.kind in {"must", "nice"} and not line.text.isupper():
        yield from (_mention_at(line, m) for m in _CODE.finditer(line.text) if not _NO_SKILL.fullmatch(m.group()))


def _spelled_out(text: str, acronym: re.Match[str]) -> bool:
    """Say whether the initials before "(MDM)" are those of the acronym."""
    words = _WORD.findall(text[: acronym.start()])[-len(acronym.group()) :]
    return "".join(w[0] for w in words).casefold() == acronym.group().casefold()


def _is_new_name(name: str, *, coded_only: bool) -> bool:
    if _MASK in name or len(name.split()) > _NAME_WORDS or _NO_SKILL.search(name):
        return False
    return not coded_only or _CODED.search(name) is not None


def _mention_at(line: AdLine, m: re.Match[str]) -> SkillMention:
    return SkillMention(m.group(), m.group(), line.start + m.start(), line.start + m.end())


def _mask(line: AdLine, mentions: list[SkillMention]) -> str:
    """Replace the names of known tools by a capital of the same length, other known skills by blanks."""
    letters = list(line.text)
    for m in mentions:
        n = m.end - m.start
        letters[m.start - line.start : m.end - line.start] = (_MASK if is_tool(m.name) else " ") * n
    return "".join(letters)
