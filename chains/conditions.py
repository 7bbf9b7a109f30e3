"""Where the work or the person is, and who may work there, as far as a text says it. Pure.

English, German, French and Romanian. Nothing is guessed: what no label and no phrase states is None.
"""

from __future__ import annotations

import re

__all__ = ["location", "work_permit"]

_PLACE = re.compile(
    r"^[\W_]*(?:(?:job |work(?:ing)? )?location|based in|place of work|address|residence|city|standort|arbeitsort|"
    r"einsatzort|wohnort|adresse|anschrift|lieu(?: de travail)?|localisation|domicile|loca[tțţ]i[ea]|"
    r"loca[tțţ]ia postului|domiciliu|ora[sșş])\b[*_ ]*:[*_ \t]*(?P<place>[^\n|;]{2,80}?)[\s*_.]*$",
    re.IGNORECASE | re.MULTILINE,
)
_PERMIT = re.compile(
    r"[^\n.;!?]*\b(?:work permits?|work authori[sz]ation|authori[sz]ed to work|right to work|eligible to work|"
    r"visa sponsorship|sponsor(?:ship)? (?:a )?visas?|citizenship|green card|H-?1B|arbeitserlaubnis|"
    r"aufenthaltstitel|arbeitsgenehmigung|permis de travail|titre de s[ée]jour|permis de munc[aă]|"
    r"drept de munc[aă])\b[^\n.;!?]*",
    re.IGNORECASE,
)


def location(text: str) -> str | None:
    """Return the place that a label names ("Location: Cluj, hybrid"), in the text's own words."""
    found = _PLACE.search(text)
    return found["place"].strip() if found else None


def work_permit(text: str) -> str | None:
    """Return the first sentence about the right to work, in the text's own words."""
    found = _PERMIT.search(text)
    return found.group().strip(" \t-*•·") if found else None
