"""The words of a text, stemmed and weighted by how rare they are. Pure: no I/O but the packaged word list, read once.

How rare a word is comes from outside of the texts that are compared, so that the score of a pair depends on that pair
alone: BERT's word pieces are listed from the most to the least frequent, and by Zipf's law the place of a word says how
often it occurs. A word that is not listed, such as the name of a product or any German noun, counts as rare.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import snowballstemmer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Language",
    "Terms",
    "is_small",
    "language_of",
    "phrases_of",
    "rarity",
    "similarity",
    "stem",
    "term_weights",
    "terms",
    "words",
]

Language = Literal["english", "german", "french", "romanian", "spanish"]
Terms = dict[str, float]

_VOCABULARY = "bert_base_uncased_vocab.txt"
_FIRST_WORD = "the"  # marks and single characters stand before it
_SATURATION = 1.2  # BM25's k1: the second mention of a word adds little, the tenth nothing
_WORD = re.compile(r"[^\W_]+(?:['\u2019.][^\W_]+)*(?:\+\+|#)?")
_COPIED_WORDS = 30  # a list of skills that is repeated from an ad is shorter
_LANGUAGE_WORDS = 400  # of a text's beginning; enough to tell

_SMALL: dict[Language, str] = {
    "english": """
        a about above across after all also am an and any are as at be because been before being below between both but
        by can could did do does doing down during each etc few for from further had has have having he her here hers
        him his how i if in into is it its itself just may me might more most must my no nor not now of off on once only
        or other our ours out over own per same she should so some such than that the their theirs them then there these
        they this those through to too under until up upon us very via was we were what when where which while who whom
        why will with within without would you your yours
    """,
    "german": """
        aber alle allem allen aller als also am an auch auf aus bei beim bin bis bist da damit dann das dass dein deine
        dem den denn der des die dies diese diesem diesen dieser dieses dir du durch ein eine einem einen einer eines er
        es euch euer fur gegen habe haben hat hatte ich ihm ihn ihnen ihr ihre ihren ihrer im in ins ist ja jede jeder
        kann kein keine mein meine mich mir mit muss nach nicht noch nur ob oder ohne sehr sein seine sich sie sind so
        sowie uber um und uns unser unsere unter vom von vor war waren was weil wenn wer werden wie wir wird wo wurde zu
        zum zur zwischen
    """,
    "french": """
        a afin ainsi au aux avec c ce ces cette chez comme d dans de des du elle en entre est et etc etre eu il ils j je
        l la le les leur leurs lui m ma mais me mes moi mon n ne nos notre nous on ont ou par pas plus pour qu que qui s
        sa sans se ses si son sont sous sur t ta te tes toi ton tous tout toute toutes tu un une vers vos votre vous y
    """,
    "romanian": """
        a ai al ale am are as asupra au avea avem aveti ca care ce cel cele cei cu cum d da daca dar de decat
        deja despre din dintre doar dupa ei el ele esti este eu face fara fi fie fiind fost i ii il in inainte
        intr intre intru isi la langa le li lor lui m mai ne nici noastra noastre nostru nu o ori pana pe pentru
        peste prin s sa sai sau si sub sunt suntem te ti tot toate toti tu un una unde unei unele unor unui va
        voi vom vor
    """,
    "spanish": """
        a al algo ante antes asi aun como con contra cual cuando de del desde donde durante e el ella ellas ellos en
        entre era es esa ese eso esta estas este esto estos fue ha hasta hay la las le les lo los mas me mi mis muy ni
        no nos nuestra nuestro o os otra otro para pero por porque que quien se ser si sin sobre son su sus tambien
        tanto te todo todos tu un una uno unos y ya yo
    """,
}
_FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _SMALL.items()}


@lru_cache(maxsize=1)
def _stemmers() -> Mapping[Language, Any]:
    return {language: snowballstemmer.stemmer(language) for language in _FUNCTION_WORDS}


def _plain(text: str) -> str:
    """Lower case without accents: the same word is often written with and without them."""
    low = text.casefold()
    return (
        low if low.isascii() else "".join(c for c in unicodedata.normalize("NFKD", low) if not unicodedata.combining(c))
    )


def _words(text: str) -> Iterator[str]:
    return (m.group() for m in _WORD.finditer(_plain(text)))


def language_of(text: str) -> Language:
    """Return the language whose small words a text uses most; English where none is used."""
    counts = Counter(w for w, _ in zip(_words(text), range(_LANGUAGE_WORDS), strict=False))
    seen = {language: sum(counts[w] for w in small) for language, small in _FUNCTION_WORDS.items()}
    return max(seen, key=seen.__getitem__)


@lru_cache(maxsize=1 << 16)
def stem(word: str, language: Language = "english") -> str:
    """Return what the forms of a word share, by the Snowball stemmer of its language; case and accents are gone."""
    plain = _plain(word).replace("\u2019", "'")
    return str(_stemmers()[language].stemWord(plain))


@lru_cache(maxsize=1)
def _ranks() -> dict[str, int]:
    """Return the place of each English stem among all, the most frequent first."""
    data = resources.files("chains").joinpath("data", _VOCABULARY).read_text(encoding="utf-8").split("\n")
    ranks: dict[str, int] = {}
    for piece in data[data.index(_FIRST_WORD) :]:
        if piece.isalpha():
            ranks.setdefault(stem(piece), len(ranks) + 1)
    return ranks


@lru_cache(maxsize=1 << 16)
def rarity(stemmed: str) -> float:
    """Return how much a stem says, in (0, 1]: the logarithm of its place in the order of frequency; 1 if unlisted."""
    ranks = _ranks()
    last = len(ranks) + 1
    return math.log1p(ranks.get(stemmed, last)) / math.log1p(last)


def is_small(word: str, language: Language) -> bool:
    """Say whether a word only holds others together, in that language."""
    return _plain(word) in _FUNCTION_WORDS[language]


def words(text: str, language: Language) -> list[str]:
    """Return the words of a text in order, lower-case and without accents, numbers and small words."""
    small = _FUNCTION_WORDS[language]
    return [word for word in _words(text) if word not in small and not word.isdigit()]


def terms(text: str, language: Language | None = None) -> list[str]:
    """Return the stems of the words of a text; with no language given it is told by the small words."""
    known = language or language_of(text)
    return [stem(word, known) for word in words(text, known)]


def term_weights(text: str, language: Language | None = None) -> Terms:
    """Return the terms of a text with their weights, as a vector of length 1; {} for a text without words.

    A weight is BM25's: it grows with the number of mentions up to a bound, and with the rarity of the term.
    """
    counts = Counter(terms(text, language))
    raw = {term: rarity(term) * n / (n + _SATURATION) for term, n in counts.items()}
    norm = math.sqrt(math.fsum(value * value for value in raw.values()))
    return {term: value / norm for term, value in sorted(raw.items())} if norm else {}


def phrases_of(text: str) -> frozenset[str]:
    """Return every run of thirty words of a text: of two texts that share one, one was pasted into the other."""
    found = list(_words(text))
    return frozenset(" ".join(found[i : i + _COPIED_WORDS]) for i in range(len(found) - _COPIED_WORDS + 1))


def similarity(one: Terms, other: Terms) -> float:
    """Return the cosine of two weighted texts, in [0, 1]; the same whatever the order of the arguments."""
    if len(one) > len(other):
        one, other = other, one
    return min(1.0, math.fsum(value * other[term] for term, value in one.items() if term in other))
