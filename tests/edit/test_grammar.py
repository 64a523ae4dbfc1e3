import itertools
from collections.abc import Iterator, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from stemwright.datagen.edit.grammar import (
    BASS_CUTOFFS_HZ,
    CUTOFFS_HZ,
    MOST_DB,
    SIDES,
    STEMS,
    STRENGTHS,
    TWICE_DB,
    WORDINGS,
    Edit,
    EditError,
    Wording,
    amounts,
    chains,
    nearest,
    parse,
    parse_all,
    say,
    sentence,
    wordings,
)
from stemwright.datagen.effects import EFFECTS

FOUR = ("vocals", "drums", "bass", "other")


def selections(stems: Sequence[str], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """The ordered selections of stems, of one up to ``most`` (all) of them."""
    for count in range(1, (len(stems) if most is None else most) + 1):
        yield from itertools.permutations(stems, count)


def labelled_sentences(stems: Sequence[str], most: int | None = None) -> Iterator[tuple[str, Edit, Wording]]:
    """Every sentence of the grammar over some stems, with its label and its wording."""
    for chosen in selections(stems, most):
        for wording in WORDINGS:
            for amount in amounts(wording.operation):
                edit = Edit(wording.operation, chosen, amount)
                if isinstance(amount, float) and amount * wording.sign < 0.0:
                    continue
                for text in dict.fromkeys((sentence(wording, edit), sentence(wording, edit, in_words=False))):
                    yield text, edit, wording


def test_every_sentence_of_the_grammar_gives_back_its_label():
    count = 0
    for text, edit, wording in labelled_sentences(FOUR):
        assert parse(text) == edit, text
        assert parse(text.upper() + ". ") == edit
        assert say(edit, wording) == text or say(edit, wording, in_words=False) == text
        count += 1
    assert count > 20_000


def test_every_selection_of_six_stems_is_understood_in_its_order():
    for chosen in selections(STEMS, 3):
        assert parse(sentence(WORDINGS[0], Edit("mute", chosen))).stems == chosen
    assert sum(1 for _ in selections(("vocals", "drums", "bass"))) == 15  # as many as the reference has
    assert sum(1 for _ in selections(FOUR)) == 64


def test_no_sentence_has_two_labels():
    labels = {}
    for text, edit, _ in labelled_sentences(FOUR, 2):
        assert labels.setdefault(text, edit) == edit


@given(st.floats(0.0, 24.0), st.sampled_from(FOUR))
def test_any_number_of_db_that_a_fader_can_do_is_understood(size, stem):
    text = f"{size:.4f}"
    assert parse(f"raise the {stem} by {text} dB") == Edit("volume", (stem,), float(text))
    assert parse(f"lower {stem} by {text}db").amount == -float(text)


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("raise the vocals by 3 dB", Edit("volume", ("vocals",), 3.0)),
        ("increase the volume of vocals", Edit("volume", ("vocals",), TWICE_DB)),
        ("decrease the volume of drums, bass and vocals", Edit("volume", ("drums", "bass", "vocals"), -TWICE_DB)),
        ("Pan the other to the left side.", Edit("pan", ("other",), "left")),
        ("pan drums and bass completely to the right side", Edit("pan", ("drums", "bass"), "completely right")),
        ("apply heavy lowpass to bass", Edit("lowpass", ("bass",), "heavy")),
        ("apply highpass to bass", Edit("highpass", ("bass",), "medium")),
        ("get rid of drums", Edit("mute", ("drums",))),
        ("extract  vocals,bass", Edit("isolate", ("vocals", "bass"))),
        ("remove reverb from the vocals", Edit("dereverb", ("vocals",))),
        ("increase the volume of vocals by 0 dB", Edit("volume", ("vocals",), 0.0)),
        ("lower vocals by 0 dB", Edit("volume", ("vocals",), 0.0)),
    ],
)
def test_what_a_sentence_means(text, edit):
    assert parse(text) == edit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("increse the volume of vocal", "increase the volume of vocals"),
        ("raise the vocls by 3 dB please", "raise vocals by 3 dB"),
        ("pan drums left", "pan drums to the left side"),
        ("apply heavy low pass to bass", "apply heavy lowpass to bass"),
        ("remove reverb", "remove reverb from vocals"),
        ("increase the volume of guitars by 4 decibel", "increase the volume of guitar by 4 dB"),
        ("mute drum & bass", "mute drums and bass"),
        ("kill the drums", "silence drums"),
        ("solo bass", "isolate bass"),
        ("make the bass 3 dB softer", "make bass quieter by 3 dB"),
        ("turn the vocals down", "bring vocals down"),
        ("kill the reverb of the vocals", "take the reverb off vocals"),
    ],
)
def test_a_text_outside_the_grammar_is_refused_with_the_nearest_sentence(text, said):
    with pytest.raises(EditError) as refused:
        parse(text)
    assert str(refused.value) == f"{text!r} is not understood as an edit; the nearest is {said!r}"
    parse(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "make the vocals pop",
        "mute the synth",
        "mute drums and synth",
        "don't mute the drums",
        "remove everything but the drums",
        "raise drums by -3 dB",
        "make the drums less loud",
        "turn up drums and turn down bass",
        "more reverb on vocals",
        "unmute drums",
    ],
)
def test_no_sentence_is_suggested_where_it_would_ask_for_something_else(text):
    assert nearest(text) is None
    with pytest.raises(EditError, match=r"expected sentences such as 'mute vocals', .*, with the stems vocals, drums"):
        parse(text)


@given(st.text(max_size=40))
def test_the_nearest_sentence_of_any_text_is_a_sentence(text):
    if (found := nearest(text)) is not None:
        parse(found)


@given(st.sampled_from(WORDINGS), st.sampled_from(FOUR), st.integers(0, 200))
def test_the_nearest_sentence_of_a_misspelt_one_asks_for_the_same_of_the_same_stem(wording, stem, at):
    meant = Edit(wording.operation, (stem,), {"pan": "left", "volume": 3.0 * wording.sign}.get(wording.operation))
    right = sentence(wording, meant if wording.operation not in CUTOFFS_HZ else Edit(wording.operation, (stem,), "heavy"))
    text = right[: at % len(right)] + right[at % len(right) + 1 :]
    if (found := nearest(text)) is not None:
        label = parse(found)
        assert (label.operation, label.stems) == (wording.operation, (stem,))
        assert label.operation != "volume" or label.amount * wording.sign > 0.0


def test_impossible_amounts_and_repeated_names_are_refused():
    with pytest.raises(EditError, match="is 30 dB; expected at most 24 dB up or 48 dB down"):
        parse("raise drums by 30 dB")
    assert parse("lower drums by 30 dB").amount == -30.0
    with pytest.raises(EditError, match="'vocals' is named twice"):
        parse("mute vocals and vocals")
    with pytest.raises(ValueError, match="cannot say"):
        say(Edit("volume", ("drums",), -3.0), wordings("volume")[0])


def test_several_edits_are_separated_by_semicolons_or_given_one_by_one():
    once = parse_all(["mute drums; raise vocals by 3 dB", "pan bass to the left side;"])
    assert [edit.operation for edit in once] == ["mute", "volume", "pan"]
    with pytest.raises(EditError, match="expected an edit, such as 'mute vocals'"):
        parse_all([" ; "])


def test_other_names_of_stems_are_understood_on_request():
    assert parse("mute the kick drum", stems=("kick drum", "snare")).stems == ("kick drum",)
    with pytest.raises(EditError, match="nearest is 'mute snare'"):
        parse("mute snares", stems=("kick drum", "snare"))


def test_every_operation_has_wordings_for_training_and_held_out_wordings():
    for operation in {wording.operation for wording in WORDINGS}:
        for amount in amounts(operation):
            shown, held_out = (wordings(operation, amount=amount, held_out=flag) for flag in (False, True))
            assert shown
            assert held_out
            assert {wording.text for wording in shown}.isdisjoint(wording.text for wording in held_out)


def test_every_chain_is_one_that_the_effects_take():
    for _, edit, _ in labelled_sentences(FOUR, 2):
        for stem in FOUR:
            for use in itertools.chain(*chains(edit, stem)):
                EFFECTS[use.effect].Settings(**use.settings)  # raises for a setting out of its range


def test_bass_has_cutoffs_of_its_own():
    for operation, table in (("lowpass", BASS_CUTOFFS_HZ), ("highpass", BASS_CUTOFFS_HZ)):
        for strength, bass, others in zip(STRENGTHS, table[operation], CUTOFFS_HZ[operation], strict=True):
            edit = Edit(operation, ("bass", "drums"), strength)
            assert chains(edit, "bass")[0][0].settings["cutoff_hz"] == bass
            assert chains(edit, "drums")[0][0].settings["cutoff_hz"] == others
            assert chains(edit, "vocals") == ((),)


def test_stems_that_are_not_named_stay_and_muted_ones_are_removed():
    assert chains(Edit("mute", ("drums",)), "drums") == ()
    assert chains(Edit("mute", ("drums",)), "bass") == ((),)
    assert chains(Edit("isolate", ("drums",)), "bass") == ()
    assert chains(Edit("isolate", ("drums",)), "drums") == ((),)
    assert len(chains(Edit("dereverb", ("drums",)), "drums")) == 2
    assert MOST_DB == {1.0: 24.0, -1.0: 48.0}
    assert len(SIDES) == 4
