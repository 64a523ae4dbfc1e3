"""Licences by one name each, from what tags and data sets say about rights.

Conventions
    Licences are named by their SPDX identifiers (CC-BY-4.0); where the version is not stated, without it (CC-BY).

References
    SPDX License List, https://spdx.org/licenses/. Creative Commons licence deeds, https://creativecommons.org/licenses/.
"""

from __future__ import annotations

import re

UNKNOWN = "unknown"
RESERVED = "all rights reserved"
PUBLIC_DOMAIN = "public domain"
# Creative Commons' elements in the order of their names, by the words that licences are called by.
ELEMENTS = (
    ("BY", r"\bby\b|attribution"),
    ("NC", r"\bnc\b|non[- ]?commercial"),
    ("ND", r"\bnd\b|no[- ]?deriv\w*"),
    ("SA", r"\bsa\b|share[- ]?alike"),
)
CREATIVE_COMMONS = r"creative\s*commons|creativecommons\.org|\bcc[-\s_]*(?=by\b|0\b|zero\b)|^cc[-\s_]"
OTHER_LICENCES = (
    (r"\bODbL\b", "ODbL-1.0"),
    (r"free art licen[cs]e|licence art libre|\bLAL[- ]?1\.3\b", "LAL-1.3"),
    (r"\bunlicense\b", "Unlicense"),
)
OWNED = r"all rights reserved|alle rechte vorbehalten|tous droits r[ée]serv[ée]s|\(c\)|\(p\)|[©℗]|copyright\b|^\d{4}\s+\S"


def normalise(text: str) -> str:
    """The licence that a statement of rights names, as its SPDX identifier; "all rights reserved", "public domain" or "unknown" where it
    says so; else the statement itself, with its spaces tidied.
    """
    plain = " ".join(text.split())
    if not plain or plain.casefold() in (UNKNOWN, "none", "n/a", "?"):
        return UNKNOWN
    for pattern, identifier in OTHER_LICENCES:
        if re.search(pattern, plain, re.IGNORECASE):
            return identifier
    if re.search(CREATIVE_COMMONS, plain, re.IGNORECASE):
        return _creative_commons(plain) or plain
    if re.search(r"\bpublic[- ]?domain\b|\bgemeinfrei\b", plain, re.IGNORECASE):
        return PUBLIC_DOMAIN
    return RESERVED if re.search(OWNED, plain, re.IGNORECASE) else plain


def _creative_commons(text: str) -> str | None:
    """The identifier of a Creative Commons licence by its name, abbreviation or address; None if the text does not say which."""
    # Only what follows "cc": "... by Nobody, CC0" names no attribution.
    start = re.search(CREATIVE_COMMONS, text, re.IGNORECASE)
    words = re.sub(r"[_/]", " ", text[start.start() :] if start else text)
    if re.search(r"\bcc[-\s]*(0|zero)\b|publicdomain zero|\bzero\b", words, re.IGNORECASE):
        return "CC0-1.0"
    if re.search(r"publicdomain|public domain", words, re.IGNORECASE):
        return PUBLIC_DOMAIN
    elements = [name for name, pattern in ELEMENTS if re.search(pattern, words, re.IGNORECASE)]
    if not elements or elements[0] != "BY":
        return None
    version = re.search(r"(?<![\d.])([1-4]\.[0-9])(?![\d])", words)
    return "-".join(["CC", *elements, *([version[1]] if version else [])])
