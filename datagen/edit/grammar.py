"""The language of edits: sentences such as "increase the volume of vocals by 3 dB", what each means, and back again.

    label      Edit(operation, stems, amount)          what is meant                            ``language/label.py``
    sentence   one of many wordings of a label         ``say``, ``sentence``                    ``language/sentence_writer.py``
    parse      every sentence -> its label             EditError for any other text             ``language/sentence_reader.py``
    chains     a label and a stem -> what to do        rows only; no audio                      ``language/processing.py``

Conventions
    What is understood is a table of words by kind (``language/words.py``) and a table of the orders in which kinds may follow
    (``language/patterns.py``). A text is read once, from left to right. Every word of it has to be in the tables and every part in a
    pattern; nothing is skipped but articles and politeness. So what is understood is understood exactly, or it is refused.
    A text with two readings is refused with both ("cut the vocals": mute them, or lower them?); where a part of it is negated, or of
    a stem, time or section that an edit does not have, it is refused too.
    Several edits in one text are joined by ";", "then", "and", "," or a full stop. Case, articles and the plural make no difference.
    A text that is refused is answered with a sentence only if nothing but its spelling is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from stemwright.datagen.edit.language.label import (
    FIRST_OPERATIONS,
    MOST_DB,
    OPERATIONS,
    SIDES,
    STEMS,
    STRENGTHS,
    TWICE_DB,
    VOLUME_DB,
    VOLUME_WORDS,
    Amount,
    Edit,
    EditError,
    Operation,
)
from stemwright.datagen.edit.language.meaning import UnclearError
from stemwright.datagen.edit.language.phrases import UnknownWordError
from stemwright.datagen.edit.language.processing import BASS_CUTOFFS_HZ, CUTOFFS_HZ, chains, cutoff_hz
from stemwright.datagen.edit.language.sentence_reader import read
from stemwright.datagen.edit.language.sentence_writer import (
    MORE_WORDINGS,
    WORDINGS,
    Wording,
    amounts,
    plain_sentence,
    say,
    sentence,
    wordings,
)
from stemwright.datagen.edit.language.suggestions import nearest as _nearest
from stemwright.datagen.edit.language.suggestions import not_understood

__all__ = [
    "BASS_CUTOFFS_HZ",
    "CUTOFFS_HZ",
    "FIRST_OPERATIONS",
    "MORE_WORDINGS",
    "MOST_DB",
    "OPERATIONS",
    "SIDES",
    "STEMS",
    "STRENGTHS",
    "TWICE_DB",
    "VOLUME_DB",
    "VOLUME_WORDS",
    "WORDINGS",
    "Amount",
    "Edit",
    "EditError",
    "Operation",
    "Wording",
    "amounts",
    "chains",
    "cutoff_hz",
    "nearest",
    "parse",
    "parse_all",
    "plain_sentence",
    "say",
    "sentence",
    "wordings",
]


def parse(text: str, *, stems: Sequence[str] = STEMS, possible: Sequence[Operation] = OPERATIONS) -> Edit:
    """The label of a sentence; of a text with several, the first. Raises EditError for any other text.

    ``stems`` are the names that are understood; ``possible`` are the operations that a suggestion may have.
    """
    return parse_all([text], stems=stems, possible=possible)[0]


def parse_all(
    texts: Sequence[str], *, stems: Sequence[str] = STEMS, there: Sequence[str] = (), possible: Sequence[Operation] = OPERATIONS
) -> list[Edit]:
    """The labels of several sentences, each text with one or more. Raises EditError if there is none.

    ``there`` are the stems that an error names, where not all that are understood exist.
    """
    there = tuple(there) or stems
    found = [edit for text in texts if text.strip(" ;") for edit in _read(text.strip(), stems, there, possible)]
    if not found:
        raise EditError(f"expected an edit, such as {plain_sentence(Edit('mute', (there[0],)))!r}")
    return found


def _read(text: str, stems: Sequence[str], there: Sequence[str], possible: Sequence[Operation]) -> tuple[Edit, ...]:
    try:
        found = read(text, stems)
    except UnclearError:
        raise
    except UnknownWordError:
        found = ()
    if not found:
        raise not_understood(text, stems=stems, there=there, possible=possible)
    return found


def nearest(text: str, *, stems: Sequence[str] = STEMS, possible: Sequence[Operation] = OPERATIONS) -> str | None:
    """The accepted sentences that a misspelt text was to be; None where that is not certain.

    They ask for what the text asks for, in its direction and of its stems: a suggestion is typed without a second look.
    """
    return _nearest(text, stems=stems, possible=possible)
