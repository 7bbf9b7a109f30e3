import pytest

from chains.conditions import location, work_permit


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Baker\nLocation: Cluj-Napoca, hybrid\nWe bake", "Cluj-Napoca, hybrid"),
        ("**Standort:** Kassel", "Kassel"),
        ("Lieu de travail : Lyon", "Lyon"),
        ("Locație: București", "București"),
        ("Our location is lovely", None),
        ("", None),
    ],
)
def test_a_place_is_what_a_label_names(text: str, place: str | None) -> None:
    """The place is read after its label, in four languages; prose is left alone."""
    assert location(text) == place


@pytest.mark.parametrize(
    ("text", "permit"),
    [
        ("- You are authorized to work in the EU\n- Python", "You are authorized to work in the EU"),
        ("Python. We offer no visa sponsorship.", "We offer no visa sponsorship"),
        ("Arbeitserlaubnis: unbefristet", "Arbeitserlaubnis: unbefristet"),
        ("Permis de muncă în UE", "Permis de muncă în UE"),
        ("A permit for fork lifts", None),
    ],
)
def test_the_right_to_work_is_quoted(text: str, permit: str | None) -> None:
    """The sentence about the right to work is given in its own words; other permits are not meant."""
    assert work_permit(text) == permit
