"""Sentences for labels. Wordings of two ages: those that corpora have been drawn with, which never change, and all others.

Conventions
    ``WORDINGS`` are the wordings of the seven operations of AMSS-Net, in the order in which the recipe draws them; a row of a corpus
    depends on it. ``MORE_WORDINGS`` are the wordings of the other operations, and further ones of these seven. Some wordings are held
    out: they occur only in the valid and test splits, which so test whether a model generalises to new wordings.
    ``sentence_reader`` understands every sentence of both, and many more.

References
    AMSS-Net (Choi et al. 2021): operations and their first wordings. What is held out is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stemwright.datagen.edit.language.label import (
    CENTRE,
    DEGREES,
    MONO,
    SIDES,
    STRENGTHS,
    TWICE_DB,
    VOLUME_DB,
    VOLUME_WORDS,
    WIDTHS,
    Amount,
    Edit,
    Operation,
    eq_amount,
)
from stemwright.datagen.edit.language.words import EQ_FORMS

PAN_SHARES = (25.0, 50.0, 75.0)  # per cent of the way, drawn beside the sides


@dataclass(frozen=True)
class Wording:
    """One way to say an operation. ``{S}`` is replaced by the stems, ``{A}`` by the amount; ``sign`` is the direction of a volume."""

    operation: Operation
    text: str
    held_out: bool = False
    sign: float = 1.0


WORDINGS = (
    *(Wording("mute", f"{verb} {{S}}") for verb in ("mute", "remove", "get rid of", "eliminate")),
    *(Wording("mute", text, held_out=True) for text in ("silence {S}", "take {S} out of the mix")),
    *(Wording("isolate", f"{verb} {{S}}") for verb in ("separate", "isolate", "extract")),
    *(Wording("isolate", text, held_out=True) for text in ("keep only {S}", "let me hear {S} alone")),
    *(Wording("volume", f"{verb} the volume of {{S}}{{A}}") for verb in ("increase", "turn up")),
    *(Wording("volume", text, sign=-1.0) for text in ("decrease the volume of {S}{A}", "turn down the volume of {S}{A}")),
    *(Wording("volume", text) for text in ("raise {S}{A}", "make {S} louder{A}")),
    *(Wording("volume", text, sign=-1.0) for text in ("lower {S}{A}", "make {S} quieter{A}")),
    *(Wording("volume", text, held_out=True) for text in ("boost {S}{A}", "bring {S} up{A}")),
    *(Wording("volume", text, held_out=True, sign=-1.0) for text in ("attenuate {S}{A}", "bring {S} down{A}")),
    Wording("pan", "pan {S} {A} side"),
    Wording("pan", "move {S} {A} side", held_out=True),
    *(Wording(kind, f"apply {{A}}{kind} to {{S}}") for kind in ("lowpass", "highpass")),
    *(Wording(kind, f"put {{A}}{kind} filter on {{S}}", held_out=True) for kind in ("lowpass", "highpass")),
    Wording("dereverb", "remove reverb from {S}"),
    *(Wording("dereverb", text, held_out=True) for text in ("take the reverb off {S}", "make {S} dry")),
)


def _wordings(operation: Operation, shown: str, held_out: str, sign: float = 1.0) -> tuple[Wording, ...]:
    both = ((shown, False), (held_out, True))
    return tuple(Wording(operation, text, out, sign) for texts, out in both for text in texts.split("|"))


MORE_WORDINGS = (
    *_wordings("mute", "take out {S}|take {S} out|turn off {S}|delete {S}|no {S}", "without {S}|kill {S}|leave out {S}"),
    *_wordings("isolate", "solo {S}|only {S}|{S} only|play only {S}", "just {S}|nothing but {S}|{S} alone"),
    *_wordings(
        "volume", "turn up {S}{A}|turn {S} up{A}|push up {S}{A}|{S} up{A}|{S} louder{A}", "crank up {S}{A}|bump {S} up{A}|lift {S}{A}"
    ),
    *_wordings(
        "volume",
        "turn down {S}{A}|turn {S} down{A}|reduce {S}{A}|{S} down{A}|{S} quieter{A}",
        "pull down {S}{A}|dial back {S}{A}|tone down {S}{A}",
        -1.0,
    ),
    *_wordings("pan", "pan {S} {A}|put {S} {A}", "shift {S} {A}"),
    *_wordings("lowpass", "apply a {A}low pass filter to {S}|use a {A}low pass on {S}", "add a {A}high cut to {S}"),
    *_wordings("highpass", "apply a {A}high pass filter to {S}|use a {A}high pass on {S}", "add a {A}low cut to {S}"),
    *_wordings("dereverb", "less reverb on {S}|reduce the reverb of {S}", "make {S} drier|dry {S}"),
    *_wordings("eq", "make {S} {A}|{S} should be {A}", "{A} {S}|{S} {A}"),
    *_wordings("width", "make {S} {A}|{S} should be {A}", "get {S} {A}"),
    *_wordings("compressor", "apply {A}compression to {S}|put {A}compression on {S}", "use {A}compression on {S}"),
    *_wordings("reverb", "add {A}reverb to {S}|put {A}reverb on {S}", "give {S} {A}reverb"),
)


def wordings(operation: Operation, *, amount: Amount = None, held_out: bool | None = None, more: bool = False) -> list[Wording]:
    """The wordings of an operation: all, or those that are held out, or the others; of a volume, those of the amount's direction.

    ``more`` adds those that earlier corpora were not drawn with; an operation that has no others is always said in them.
    """
    sign = math.copysign(1.0, amount) if isinstance(amount, float) and operation == "volume" else 1.0
    first = [each for each in WORDINGS if each.operation == operation]
    listed = [*first, *(each for each in MORE_WORDINGS if each.operation == operation and (more or not first))]
    return [each for each in listed if each.sign == sign and (held_out is None or each.held_out == held_out)]


_VOLUMES = tuple(sorted({*VOLUME_WORDS.values(), *VOLUME_DB}))
AMOUNTS: dict[str, tuple[Amount, ...]] = {
    "volume": (*_VOLUMES, *(-amount for amount in _VOLUMES)),
    "pan": SIDES,
    "lowpass": STRENGTHS,
    "highpass": STRENGTHS,
    "eq": tuple(eq_amount(word, degree=degree, less=less) for word in EQ_FORMS for less in (False, True) for degree in DEGREES),
    "width": (*(f"{degree} {width}".strip() for width in WIDTHS for degree in DEGREES), MONO),
    "compressor": STRENGTHS,
    "reverb": STRENGTHS,
}
MORE_AMOUNTS: dict[str, tuple[Amount, ...]] = {"pan": (CENTRE, *(f"{share:g} % {side}" for share in PAN_SHARES for side in SIDES[:2]))}


def amounts(operation: Operation, *, more: bool = False) -> tuple[Amount, ...]:
    """The amounts of an operation that are drawn; ``more`` adds those that earlier corpora do not have."""
    return (*AMOUNTS.get(operation, (None,)), *(MORE_AMOUNTS.get(operation, ()) if more else ()))


def say(edit: Edit, wording: Wording, *, in_words: bool = True) -> str:
    """The sentence for a label. An amount that has a word is written as that word, unless ``in_words`` is False.

    Raises ValueError if the wording is for another operation or direction.
    """
    if wording.operation != edit.operation or (edit.gain_db or 0.0) * wording.sign < 0.0:
        raise ValueError(f"{wording.text!r} cannot say {edit}")
    return sentence(wording, edit, in_words=in_words)


def sentence(wording: Wording, edit: Edit, *, in_words: bool = True) -> str:
    """A wording with the stems and the amount of a label."""
    text = wording.text
    if edit.operation == "pan" and edit.amount not in SIDES:
        text = text.removesuffix(" side")
    return text.replace("{S}", listed(edit.stems, edit.all_but)).replace("{A}", _amount_text(edit, in_words))


def plain_sentence(edit: Edit) -> str:
    """The first wording of a label, its amount in numbers: the sentence that a suggestion gives."""
    return sentence(wordings(edit.operation, amount=edit.amount)[0], edit, in_words=False)


def listed(stems: Sequence[str], all_but: Sequence[str] | None = None) -> str:
    """Stems as a sentence names them: "drums", "drums, bass and other", "everything but vocals"."""
    if all_but is not None:
        return f"everything but {listed(all_but)}" if all_but else "everything"
    *before, last = stems
    return f"{', '.join(before)} and {last}" if before else last


def _amount_text(edit: Edit, in_words: bool) -> str:
    return AMOUNT_TEXTS[edit.operation](edit, in_words) if edit.operation in AMOUNT_TEXTS else ""


def _volume_text(edit: Edit, in_words: bool) -> str:
    size = abs(float(edit.amount or 0.0))
    word = next((word for word, size_db in VOLUME_WORDS.items() if size_db == size), None)
    if word is not None and (in_words or size == TWICE_DB):
        return f" {word}".rstrip()
    return f" by {size:.10g} dB"


def _strength_text(edit: Edit, in_words: bool) -> str:
    if isinstance(edit.amount, float):
        return f"{edit.amount:.10g} Hz "
    return "" if edit.amount == STRENGTHS[1] and not in_words else f"{edit.amount} "


def _place_text(edit: Edit, _in_words: bool) -> str:
    amount = str(edit.amount)
    if amount == CENTRE:
        return "to the centre"
    word, _, side = amount.rpartition(" ")
    return amount if word.endswith("%") else f"{word} to the {side}".strip()


def _sound_text(edit: Edit, _in_words: bool) -> str:
    """ "slightly bright" -> "slightly brighter"; "less muddy" as it is."""
    amount = str(edit.amount)
    before, _, word = amount.rpartition(" ")
    return amount if before.endswith("less") else f"{before} {EQ_FORMS[word][1]}".strip()


AMOUNT_TEXTS: dict[str, Callable[[Edit, bool], str]] = {
    "volume": _volume_text,
    "pan": _place_text,
    "lowpass": _strength_text,
    "highpass": _strength_text,
    "eq": _sound_text,
    "width": lambda edit, _: str(edit.amount),
    "compressor": _strength_text,
    "reverb": _strength_text,
}
