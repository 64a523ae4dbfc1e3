"""What to say of a text that is no edit: the sentence that was meant if only its spelling is wrong, else what can be said.

Conventions
    A suggestion is the plain sentence of the text with its misspelt words put right; so it has the text's direction and stems. Where
    two corrections would mean different edits, none is made: a suggestion is typed without a second look.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence

from stemwright.datagen.edit.language.label import OPERATIONS, Edit, EditError, Operation
from stemwright.datagen.edit.language.phrases import UnknownWordError, items, known_words, tokens
from stemwright.datagen.edit.language.sentence_reader import read
from stemwright.datagen.edit.language.sentence_writer import amounts, plain_sentence

SPELT = 0.8  # how alike a word has to be to one that it is taken for: "increse", and not "demute" for "mute"
NAMING = frozenset(("STEM", "ALL", "INSTRUMENTS", "ACC", "KAR", "ACAP", "SANS"))  # kinds that state what an edit is about
MOST_UNKNOWN = 3
MOST_CANDIDATES = 3
SHORTEST = 3  # letters of a word that is put right
AGAINST = frozenset(
    (
        "not",
        "don",
        "don't",
        "dont",
        "never",
        "cannot",
        "can't",
        "won't",
        "nothing",
        "none",
        "unmute",
        "undo",
        "stop",
        "unsolo",
        "avoid",
        "instead",
    )
)
MOST_EXAMPLES = 4
SHOWN = 80  # characters of a text that an error repeats


def nearest(text: str, *, stems: Sequence[str], possible: Sequence[Operation] = OPERATIONS) -> str | None:
    """The accepted sentences that a misspelt text was to be; None where that is not certain."""
    try:
        found = {read(corrected, stems) for corrected in _corrected(text, stems)} - {()}
    except EditError:
        return None
    if len(found) != 1:
        return None
    edits = found.pop()
    return "; ".join(map(plain_sentence, edits)) if all(edit.operation in possible for edit in edits) else None


def not_understood(text: str, *, stems: Sequence[str], there: Sequence[str], possible: Sequence[Operation]) -> EditError:
    """The error for a text that is no edit; of the stems that are understood it names those that are ``there``."""
    shown = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
    near = nearest(text, stems=stems, possible=possible)
    if near is not None and all({*edit.stems, *(edit.all_but or ())} <= {*there} for edit in read(near, stems)):
        return EditError(f"{shown} is not understood as an edit; the nearest is {near!r}")
    examples = ", ".join(
        repr(plain_sentence(Edit(operation, (there[0],), amounts(operation)[-1]))) for operation in possible[:MOST_EXAMPLES]
    )
    return EditError(
        f"{shown} is not understood as an edit{_reason(text, stems)}; expected sentences such as {examples}, "
        f"with the stems {', '.join(there)}; `stemwright edit --list` shows all"
    )


def _reason(text: str, stems: Sequence[str]) -> str:
    """Why a text is no edit: the first word that is in no sentence."""
    try:
        found = items(text, stems)
    except UnknownWordError as unknown:
        if unknown.word in known_words(stems):
            return f": {unknown.word!r} is not understood there"
        return f": no sentence has the word {unknown.word!r}"
    except EditError as error:
        return f": {error}"
    return "" if not found or any(NAMING & set(each.kinds) for each in found) else ": it names no stem"


def _corrected(text: str, stems: Sequence[str]) -> list[str]:
    """The texts with misspelt words put right; none if a word speaks against an edit, or is like none that is known."""
    words, known = tokens(text), known_words(stems)
    strange = [at for at, word in enumerate(words) if word[0].isalpha() and word not in known]
    if not 0 < len(strange) <= MOST_UNKNOWN or AGAINST & set(words):
        return []
    options = [_candidates(words[at], known) for at in strange]
    texts = []
    for chosen in itertools.product(*options):
        replaced = dict(zip(strange, chosen, strict=True))
        texts.append(" ".join(replaced.get(at, word) for at, word in enumerate(words)))
    return texts


def _candidates(word: str, known: frozenset[str]) -> list[str]:
    apart = [f"{word[:at]} {word[at:]}" for at in range(2, len(word) - 1) if {word[:at], word[at:]} <= known]
    if len(word) < SHORTEST:
        return apart
    alike = sorted(each for each in known if each[0] == word[0])  # "boomier" is no misspelt "roomier"
    return [*apart, *difflib.get_close_matches(word, alike, n=MOST_CANDIDATES, cutoff=SPELT)]
