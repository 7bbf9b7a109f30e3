"""Numbers of a text, and what they count."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from chains.quantities import dates, quantities

if TYPE_CHECKING:
    from chains.words import Language


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("4 engineers", "english", "4"),
        ("four engineers", "english", "4"),
        ("a dozen engineers", "english", "12"),
        ("3 million users", "english", "3000000"),
        ("10k users", "english", "10000"),
        ("2,500 users", "english", "2500"),
        ("\u0664\u0660 engineers", "english", "40"),
        ("dreizehn Werke", "german", "13"),
        ("vingt-trois \u00e9l\u00e8ves", "french", "23"),
        ("doce clientes", "spanish", "12"),
    ],
)
def test_a_number_is_read_however_it_is_written(text: str, language: Language, value: str) -> None:
    """Digits of any script, words of four languages, dozens, thousands."""
    assert [quantity.value for quantity in quantities(text, language)] == [Decimal(value)]


@pytest.mark.parametrize(
    ("new", "source", "is_same"),
    [
        ("Led 4 engineers", "Led a team of 4 engineers", True),
        ("Led 4 teams", "Led a team of 4 engineers", False),
        ("cut costs by 30 percent", "reduced infrastructure costs by 30 %", True),
        ("raised revenue by 30 %", "reduced infrastructure costs by 30 %", False),
        ("200+ customers", "200 customers", False),
        ("7 years in payments", "7 years of experience in payments", True),
        ("7 years of Python", "7 years of experience in payments", False),
    ],
)
def test_a_number_is_tied_to_what_it_counts(new: str, source: str, is_same: bool) -> None:  # noqa: FBT001  a case
    """The same number of something else is another quantity."""
    [one], [other] = quantities(new, "english"), quantities(source, "english")
    assert one.is_same(other) == is_same


def test_dates_are_no_quantities() -> None:
    """Years and months of years stand apart, in order."""
    assert dates("03/2021 - 2024") == ["03/2021", "2024"]
    assert quantities("03/2021 - 2024", "english") == []
