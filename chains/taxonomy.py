"""The skills that are known by name, and where a text names them. Pure: no I/O but the packaged taxonomy, read once.

A text is read in one pass, token by token, against a trie of the known names (`data/skills.txt`); the longest name
wins. Everyday words that are also names ("Go", "Excel", "R") count by their case and their neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SkillMention",
    "category",
    "find_skills",
    "folded_words",
    "implied_skills",
    "is_tool",
    "known_forms",
    "skill_names",
    "starts_sentence",
]

_Case = Literal["any", "exact", "context"]
_MARKS: dict[str, _Case] = {"!": "exact", "?": "context"}
_TOOLS = frozenset({
    "language", "web", "mobile", "data", "machine learning", "cloud and operations", "network", "security", "office",
    "software engineering", "spoken language", "testing",
})  # fmt: skip
_STRICTNESS: tuple[_Case, ...] = ("any", "exact", "context")


@dataclass(frozen=True, slots=True)
class SkillMention:
    """One place where a text names a skill.

    Attributes:
        name: the canonical name, as displayed ("Kubernetes").
        text: the exact words of the text ("k8s"); `text == source[start:end]`.
        start: index of the first character, in code points.
        end: index after the last character.
    """

    name: str
    text: str
    start: int
    end: int


# --- The taxonomy ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A state of the trie: where each next token leads, and the skill whose name ends here."""

    after: dict[str, _Node] = field(default_factory=dict)
    name: str | None = None
    case: _Case = "any"
    spellings: set[tuple[str, ...]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Taxonomy:
    root: _Node
    words: frozenset[str]
    categories: dict[str, str]
    implied: dict[str, tuple[str, ...]]


_NONE = "-"
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|@[\w-]{1,64}\.\w[\w.-]*")
_MAILBOX = re.compile(r"[\w.+-]{1,64}\Z")
_MAILBOX_LENGTH = 64
_TOKEN = re.compile(
    r"([^\W_]+(?:[.'\u2019][^\W_]+)*(?:\+\+|#|\+(?![\w+]))?|&|(?<![\w.])\.(?=[A-Za-z]{3})[^\W_]+(?:\.[^\W_]+)*)"
)
_PIECE = re.compile(r"([^\W_]+(?:\+\+|#)?)")
_VERSIONED = re.compile(r"([^\W\d_]{3,})\d+\Z")
_GERMAN_TAIL = re.compile(r"(?<=\w{3})s?(?:kenntnisse[n]?|kenntnis|erfahrung(?:en)?|fähigkeiten|fertigkeiten)\Z")


_GERMAN_ENDS = ("n", "en", "er", "em", "es")
_GERMAN_FROM = 8  # shorter words meet English ones by chance
_PLURAL_FROM = 4  # shorter words such as "AWS" keep their s


def _fold(word: str) -> str:
    """Reduce a token to what two spellings of one word share: case and the plural ending are gone."""
    low = word.casefold().replace("\u2019", "'").removesuffix("'s")
    if low == "&":
        return "and"
    if len(low) < _PLURAL_FROM or not low.endswith("s") or (low != "apis" and low.endswith(("ss", "us", "is"))):
        return low
    return low[:-3] + "y" if low.endswith("ies") and len(low) > _PLURAL_FROM else low[:-1]


def _entry_lines() -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Yield category, name with its mark, other forms and implied names of each line of the packaged data."""
    section = ""
    data = resources.files("chains").joinpath("data", "skills.txt").read_text(encoding="utf-8")
    for line in data.splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        elif line.strip() and not line.startswith("#"):
            name, forms, implied = ([p.strip() for p in part.split(",")] for part in f"{line}||".split("|")[:3])
            yield section, name[0], [f for f in forms if f], [i for i in implied if i]


def _add(root: _Node, form: str, name: str) -> None:
    """Hang one form of a name into the trie; of two marks on the same tokens the stricter one stays."""
    if form.endswith(".js"):
        for other in (form.removesuffix(".js") + "js", form.removesuffix(".js") + " js"):
            _add(root, other, name)
    case = _MARKS.get(form[0], "any")
    words = tuple(m.group() for m in _TOKEN.finditer(form.lstrip("!?")))
    node = root
    for word in words:
        node = node.after.setdefault(_fold(word), _Node())
    node.name = node.name or name
    node.case = max(node.case, case, key=_STRICTNESS.index)
    node.spellings.add(words)


def _closure(implied: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """Return everything that a skill implies, directly or through another."""
    seen: dict[str, None] = {}
    waiting = list(implied.get(name, ()))
    while waiting:
        nxt = waiting.pop(0)
        if nxt not in seen and nxt != name:
            seen[nxt] = None
            waiting += implied.get(nxt, ())
    return tuple(seen)


@lru_cache(maxsize=1)
def _taxonomy() -> _Taxonomy:
    """Read the packaged taxonomy, once."""
    root, categories, implied = _Node(), {}, {}
    for section, marked, forms, names in _entry_lines():
        name = marked.lstrip("!?")
        for form in (*([marked] if name != _NONE else []), *forms):
            _add(root, form, name)
        categories[name], implied[name] = section, tuple(names)
    words: set[str] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        words.update(node.after)
        nodes += node.after.values()
    closed = {name: _closure(implied, name) for name in implied}
    return _Taxonomy(root, frozenset(words), categories, closed)


def known_forms() -> Iterator[tuple[str, str]]:
    """Yield every canonical name with each of its forms, the name itself first."""
    for _, marked, forms, _ in _entry_lines():
        name = marked.lstrip("!?")
        yield from ((name, form.lstrip("!?")) for form in (marked, *forms) if name != _NONE)


def category(name: str) -> str | None:
    """Return the taxonomy's category of a canonical name ("soft", "cloud and operations"), None if it has none."""
    return None if name == _NONE else _taxonomy().categories.get(name)


def is_tool(name: str) -> bool:
    """Say whether a canonical name is that of a product, a language, a standard or a technique of such a field."""
    return category(name) in _TOOLS


def implied_skills(name: str) -> tuple[str, ...]:
    """Return the canonical names that having this skill implies ("PostgreSQL" implies "SQL"); () if none."""
    return _taxonomy().implied.get(name, ())


# --- Names in a text ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Candidate:
    node: _Node
    start: int
    end: int
    exact: bool  # written in a case that its form allows
    sure: bool


# What may stand between the tokens of one name. A dash with spaces around it separates instead.
_JOINTS = frozenset({"", " ", "  ", "\u00a0", "-", "\u2010", "\u2011", "\u2013", "/", " / ", "- ", "-\n"})
_WRAPPED = re.compile(r"[ \t]*\n[ \t]*")
_LISTED = re.compile(r"[\s,;/|&+•·()*_]*(?:(?:and|or|und|oder|and/or|sowie|plus)[\s*_]+)?", re.IGNORECASE)
_LINE_HEAD = re.compile(r"[\s\W\d]*\Z")
_LINE_TAIL = re.compile(r"[^\w\n&]*(?:\n|\Z)")
_SENTENCE_HEAD = re.compile(r"(?:\A|[.!?:\n•*▪●‣◦·\u2013\u2014]|(?:^|\n)\s*(?:-|\d+[.)]))\s*\Z")
_NEXT_WORD = re.compile(r"[ \t-]{1,2}([a-zäöüß]+)")
_NEXT_NOUN = re.compile(
    r"[ \t-]{1,2}(?:and|or|und|oder|would be|required|preferred|needed|desirable|erforderlich|"
    r"programming|program(?:s|mer|mers|mierung)?|languages?|"
    r"develop(?:er|ers|ment)|"
    r"engineers?|code|coding|scripts?|scripting|frameworks?|skills?|knowledge|experience|expertise|proficiency|"
    r"databases?|queries|administration|administrators?|architects?|consultants?|certifi(?:ed|cations?|cates?)|"
    r"environments?|servers?|modules?|projects?|applications?|apps|systems?|tools?|files?|documents?|macros|"
    r"formulas|"
    r"spreadsheets|charts|models?|recipes|cookbooks|manifests|services|microservices|backends?|packages?|"
    r"libraries|"
    r"studio|kenntnisse|entwicklung|entwickler(?:in)?|clusters?|jobs|pipelines?|software|platform|cloud|suite|"
    r"\d)\b",
    re.IGNORECASE,
)
_CUE = re.compile(
    r"(?:\b(?:in|with|using|use|of|know|knows|languages?|programming|knowledge|experience|microsoft|ms|"
    r"advanced|"
    r"proficient|basic|mit|von|kenntnisse|erfahrung|via|through|like|e\.g\.|z\.\s?B\.|wie)|\+)[ \t:*]{1,3}\Z",
    re.IGNORECASE,
)
_GLUED_AFTER = re.compile(r"[&'\u2019.-](?![\s.]|\Z)")  # the rest of "R&D" and "C-level"
_GLUE_BEFORE = frozenset("&'\u2019.")
_INITIAL = re.compile(r"\b[A-Z]\. ?\Z")
_CUE_REACH = 40
_SENTENCE_REACH = 8


@lru_cache(maxsize=1 << 16)
def _folded(raw: str) -> str | None:
    """Fold a token to a known word: "python3" is "python", "Englischkenntnisse" is "englisch"; None if it is two."""
    known = _taxonomy().words
    whole = _fold(raw)
    if whole in known:
        return whole
    if raw.isalpha():
        return _german_stem(whole)
    if "." in raw:
        return None  # "Java.Experience"
    bare = _VERSIONED.sub(r"\1", whole).rstrip("+") if raw[0].isalpha() else whole
    return bare if bare in known else whole


def _german_stem(word: str) -> str:
    """Return the known word in "englischkenntnisse" or "jahresabschlüssen", else the word itself."""
    known = _taxonomy().words
    tries = (_GERMAN_TAIL.sub("", word), *(word.removesuffix(end) for end in _GERMAN_ENDS))
    stems = (word, *map(_fold, tries)) if len(word) >= _GERMAN_FROM else (word,)
    return next((stem for stem in stems if stem in known), word)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A text cut into tokens: gap 0, token 0, gap 1, token 1, and so on to a last gap.

    Attributes:
        folded: the tokens, folded.
        parts: gaps and tokens as written; joined they are the text.
        offsets: where each part starts.
    """

    folded: list[str]
    parts: list[str]
    offsets: list[int]

    def start(self, i: int) -> int:
        return self.offsets[2 * i + 1]

    def end(self, i: int) -> int:
        return self.offsets[2 * i + 2]

    def joins(self, i: int) -> bool:
        """Say whether token i continues a name: only a joint stands before it, or a line that is wrapped in prose."""
        gap = self.parts[2 * i]
        return gap in _JOINTS or (self.parts[2 * i + 1][0].islower() and _WRAPPED.fullmatch(gap) is not None)


def _tokens(text: str) -> _Tokens:
    """Cut a text; addresses of sites and people are left out."""
    parts = _TOKEN.split(_without_addresses(text))
    folded = [_folded(token) for token in parts[1::2]]
    if None in folded:
        parts = _cut_dots(parts, folded)
        folded = [_folded(token) for token in parts[1::2]]
    return _Tokens([word or "" for word in folded], parts, [0, *accumulate(map(len, parts))])


def _without_addresses(text: str) -> str:
    """Replace addresses by as many blanks. What stands before an "@" is looked for from there, which is fast."""
    kept, at = [], 0
    for m in _ADDRESS.finditer(text):
        start = max(at, m.start() - _MAILBOX_LENGTH)
        mailbox = _MAILBOX.search(text[start : m.start()]) if m.group()[0] == "@" else None
        start = m.start() - len(mailbox.group()) if mailbox else m.start()
        kept += [text[at:start], " " * (m.end() - start)]
        at = m.end()
    return "".join([*kept, text[at:]])


def _cut_dots(parts: list[str], folded: list[str | None]) -> list[str]:
    """Cut the tokens that are several words around dots."""
    out = parts[:1]
    for token, word, gap in zip(parts[1::2], folded, parts[2::2], strict=True):
        cut = [token] if word is not None else _PIECE.split(token)[1:-1]
        out += [*cut, gap]
    return out


def folded_words(text: str) -> list[str]:
    """Return the tokens of a text with case and plural endings taken off, for comparing wordings."""
    return _tokens(text).folded


def _is_exact(node: _Node, words: tuple[str, ...]) -> bool:
    """Say whether the words are written in a case that the form allows: its own, its plural, or capitals throughout."""
    return any(all(map(_same_case, words, spelling)) for spelling in node.spellings if len(spelling) == len(words))


def _same_case(word: str, spelling: str) -> bool:
    word = word.replace("\u2019", "'").removesuffix("'s")
    in_capitals = len(spelling) >= _PLURAL_FROM and spelling.istitle() and word == spelling.upper()
    return in_capitals or word in {spelling, spelling + "s"}


def _candidates(text: str) -> list[_Candidate]:
    """Find the longest name at each token, left to right, without overlaps."""
    root = _taxonomy().root.after
    tokens = _tokens(text)
    found: list[_Candidate] = []
    free = 0
    for i in [i for i, word in enumerate(tokens.folded) if word in root]:
        if i >= free:
            node, stop = _longest(tokens, i)
            if node is not None:
                words = tuple(tokens.parts[2 * i + 1 : 2 * stop : 2])
                found.append(_candidate(text, node, words, tokens.start(i), tokens.end(stop - 1)))
                free = stop
    return found


def _longest(tokens: _Tokens, i: int) -> tuple[_Node | None, int]:
    """Return the node of the longest name that starts at token i, and the token after it; None if there is none."""
    node: _Node | None = _taxonomy().root.after[tokens.folded[i]]
    best, stop, j = None, i, i + 1
    while node is not None:
        if node.name is not None:
            best, stop = node, j
        node = node.after.get(tokens.folded[j]) if j < len(tokens.folded) and tokens.joins(j) else None
        j += 1
    return best, stop


def _candidate(text: str, node: _Node, words: tuple[str, ...], start: int, end: int) -> _Candidate:
    if node.case == "any":
        return _Candidate(node, start, end, exact=True, sure=True)
    exact = _is_exact(node, words)
    found = _Candidate(node, start, end, exact=exact, sure=False)
    found.sure = exact and (_in_context(text, found) or (node.case == "exact" and not _opens_sentence(text, found)))
    return found


def _opens_sentence(text: str, found: _Candidate) -> bool:
    """Say whether the capital may be that of a sentence: "Excel at what you do", "Swift replies"."""
    return starts_sentence(text, found.start) and _NEXT_WORD.match(text, found.end) is not None


def starts_sentence(text: str, at: int) -> bool:
    """Say whether a sentence, a line or a list item starts at an index."""
    return _SENTENCE_HEAD.search(text, max(0, at - _SENTENCE_REACH), at) is not None


def _in_context(text: str, found: _Candidate) -> bool:
    """Say whether the words around an everyday word show that it is a name here."""
    if found.end - found.start == 1 and _is_glued(text, found):
        return False
    if _NEXT_NOUN.match(text, found.end):
        return True
    line_start = text.rfind("\n", 0, found.start) + 1
    if _CUE.search(text[max(line_start, found.start - _CUE_REACH) : found.start]):
        return _NEXT_WORD.match(text, found.end) is None or not _opens_sentence(text, found)
    alone = found.start - line_start < _CUE_REACH and _LINE_HEAD.match(text[line_start : found.start])
    return bool(alone) and _LINE_TAIL.match(text, found.end) is not None


def _is_glued(text: str, found: _Candidate) -> bool:
    """Say whether a single letter is part of something longer: "R&D", "C-level", the initial of "J. R. Smith"."""
    before = text[max(0, found.start - 3) : found.start]
    return (
        bool(_GLUED_AFTER.match(text, found.end)) or before[-1:] in _GLUE_BEFORE or _INITIAL.search(before) is not None
    )


def _settle(text: str, found: list[_Candidate]) -> None:
    """Let list neighbours vouch for unsure names, rightwards and then leftwards."""
    for order in (found, found[::-1]):
        for one, other in pairwise(order):
            if other.sure or not (one.sure or (one.exact and other.exact)):
                continue
            left, right = (one, other) if one.start < other.start else (other, one)
            gap = text[left.end : right.start]
            listed = gap.strip() != "" and _LISTED.fullmatch(gap) is not None
            if listed and (other.exact or other.end - other.start > 1) and not _is_soft(one):
                other.sure = True


def _is_soft(found: _Candidate) -> bool:
    return found.node.name == _NONE or category(found.node.name or "") == "soft"


def find_skills(text: str) -> list[SkillMention]:
    """Find every mention of a known skill.

    Args:
        text: a resume, an ad or any part of one.

    Returns:
        The mentions in order of appearance, not overlapping; where names overlap the longest counts ("Azure DevOps" is
        not "Azure"). Negated mentions ("no Java required") are mentions too.
    """
    found = _candidates(text)
    _settle(text, found)
    return [
        SkillMention(f.node.name or "", text[f.start : f.end], f.start, f.end)
        for f in found
        if f.sure and f.node.name != _NONE
    ]


def skill_names(text: str) -> list[str]:
    """Return the canonical names of the skills in a text, each once, in order of first appearance."""
    return list(dict.fromkeys(m.name for m in find_skills(text)))
