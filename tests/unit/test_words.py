import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.words import Language, language_of, phrases_of, rarity, similarity, stem, term_weights, terms

TEXTS = st.text(max_size=200) | st.lists(
    st.sampled_from(["the", "Kubernetes", "managing", "C++", "und", "și", "échelle", "2019", "x", "\n", "budget"])
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("We are looking for a baker with a licence for the oven", "english"),
        ("Wir suchen einen Bäcker mit Erfahrung für die Nacht", "german"),
        ("Nous cherchons un boulanger avec de l'expérience pour la nuit", "french"),
        ("Căutăm un brutar cu experiență pentru schimbul de noapte", "romanian"),
        ("Trabajo con los equipos para la empresa y sus clientes", "spanish"),
        ("Cautam un brutar cu experienta pentru schimbul de noapte", "romanian"),
        ("Python, SQL", "english"),
        ("", "english"),
    ],
)
def test_a_language_is_told_by_its_small_words(text: str, language: Language) -> None:
    """The small words tell the language, with and without accents; without any it is English."""
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("english", ["managing", "managed", "Manages"]),
        ("german", ["Entwicklungen", "Entwicklung"]),
        ("french", ["expériences", "experience"]),
        ("romanian", ["experiență", "experienta", "experiențe"]),
    ],
)
def test_forms_of_a_word_share_a_stem(language: Language, forms: list[str]) -> None:
    """Inflected forms, capitals and missing accents make no difference."""
    assert len({stem(form, language) for form in forms}) == 1


def test_terms_leave_small_words_and_numbers_out() -> None:
    """What any text has says nothing; names with signs stay whole."""
    assert terms("In 2019 we were using C++ and Node.js for the billing") == ["use", "c++", "node.j", "bill"]


def test_rare_words_weigh_more() -> None:
    """The more frequent a word is in English at large, the less it says; what is not listed says the most."""
    values = [rarity(stem(word)) for word in ("work", "engineer", "ledger", "Kubernetes")]
    assert values == sorted(values)
    assert (values[0] > 0, values[-1]) == (True, 1.0)


def test_a_second_mention_adds_little() -> None:
    """Ten mentions of a word weigh less than twice one mention."""
    once, often = term_weights("kubernetes ledger"), term_weights("kubernetes " * 10 + "ledger")
    assert once["kubernet"] / once["ledger"] < often["kubernet"] / often["ledger"]
    assert often["kubernet"] / often["ledger"] < 2 * once["kubernet"] / once["ledger"]


def test_texts_with_the_same_words_are_the_same() -> None:
    """Order and forms of the words make no difference; texts without a common word share nothing."""
    one, other = term_weights("Managed budgets in Python"), term_weights("Python, budget managing")
    assert similarity(one, other) == pytest.approx(1)
    assert similarity(one, term_weights("Baked bread")) == 0.0
    assert similarity({}, one) == 0.0


@given(one=TEXTS, other=TEXTS)
def test_similarity_is_the_same_both_ways(one: str, other: str) -> None:
    """It lies between 0 and 1, bit for bit the same from either side."""
    left, right = term_weights(one), term_weights(other)
    assert similarity(left, right) == similarity(right, left)
    assert 0.0 <= similarity(left, right) <= 1.0


def test_the_order_of_the_words_does_not_change_the_number() -> None:
    """Any order of the same words gives the same number to the last bit."""
    words = ["kubernetes", "ledger", "baker", "oven", "python"]
    target = term_weights("python oven ledger bread")
    assert len({similarity(term_weights(" ".join(order)), target) for order in itertools.permutations(words)}) == 1


def test_thirty_words_in_a_row_are_a_copy() -> None:
    """A text of 31 words has two runs of thirty, whatever the signs between them; one of 29 has none."""
    words = [f"word{n}" for n in range(31)]
    assert phrases_of(", ".join(words).upper()) == {" ".join(words[:30]), " ".join(words[1:])}
    assert phrases_of(" ".join(words[:29])) == frozenset()
