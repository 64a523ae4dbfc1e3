import itertools
from collections.abc import Iterator, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from stemwright.datagen.edit.grammar import (
    BASS_CUTOFFS_HZ,
    CUTOFFS_HZ,
    FIRST_OPERATIONS,
    MORE_WORDINGS,
    MOST_DB,
    OPERATIONS,
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
ALL_WORDINGS = (*WORDINGS, *MORE_WORDINGS)


def selections(stems: Sequence[str], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """The ordered selections of stems, of one up to ``most`` (all) of them."""
    for count in range(1, (len(stems) if most is None else most) + 1):
        yield from itertools.permutations(stems, count)


def labelled_sentences(chosen: Sequence[tuple[str, ...]], some: int = 1) -> Iterator[tuple[str, Edit, Wording]]:
    """Every sentence of every wording over some stems, with its label and its wording; every ``some``-th amount of a volume and a sound."""
    for names in chosen:
        for wording in ALL_WORDINGS:
            step = some if wording.operation in ("volume", "eq") else 1
            for amount in amounts(wording.operation, more=True)[::step]:
                edit = Edit(wording.operation, names, amount)
                if (edit.gain_db or 0.0) * wording.sign < 0.0:
                    continue
                for text in dict.fromkeys((sentence(wording, edit), sentence(wording, edit, in_words=False))):
                    yield text, edit, wording


def test_every_sentence_of_every_wording_gives_back_its_label():
    count = 0
    for text, edit, wording in labelled_sentences((("vocals",), ("other", "bass"))):
        assert parse(text) == edit, text
        assert say(edit, wording) == text or say(edit, wording, in_words=False) == text
        count += 1
    assert count > 2_000


def test_every_selection_of_stems_is_understood_in_its_order_in_capitals_too():
    for text, edit, _ in labelled_sentences(list(selections(FOUR)), some=31):
        assert parse(text.upper() + ". ") == edit, text
    for chosen in selections(STEMS, 3):
        assert parse(sentence(WORDINGS[0], Edit("mute", chosen))).stems == chosen
    assert sum(1 for _ in selections(("vocals", "drums", "bass"))) == 15  # as many as the reference has
    assert sum(1 for _ in selections(FOUR)) == 64


def test_no_sentence_has_two_labels():
    labels = {}
    for text, edit, _ in labelled_sentences(list(selections(FOUR, 2)), some=7):
        assert labels.setdefault(text, edit) == edit


@given(st.floats(0.001, 24.0), st.sampled_from(FOUR))
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
        ("high-pass the vocals at 1.2 kHz", Edit("highpass", ("vocals",), 1200.0)),
        ("pan the guitar 30 percent left", Edit("pan", ("guitar",), "30 % left")),
        ("make the drums much wider", Edit("width", ("drums",), "much wider")),
        ("slightly less muddy guitars", Edit("eq", ("guitar",), "slightly less muddy")),
        ("add light compression to the bass", Edit("compressor", ("bass",), "light")),
        ("put heavy reverb on the drums", Edit("reverb", ("drums",), "heavy")),
        ("lower the drums by 25 %", Edit("volume", ("drums",), -2.4988)),
        ("raise the drums by half", Edit("volume", ("drums",), 3.5218)),
        ("mute everything but the drums", Edit("isolate", ("drums",))),
        ("solo everything but the drums", Edit("mute", ("drums",))),
        ("turn everything but the drums down by 3 dB", Edit("volume", ("bass", "other", "vocals"), -3.0, ("drums",))),
        ("raise everything but piano by 3 dB", Edit("volume", ("drums", "bass", "other", "vocals", "guitar"), 3.0, ("piano",))),
    ],
)
def test_what_a_sentence_means(text, edit):
    assert parse(text) == edit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("increse the volume of vocal", "increase the volume of vocals"),
        ("raise the vocls by 3 dB please", "increase the volume of vocals by 3 dB"),
        ("mute the drumz", "mute drums"),
        ("lowre the bass by 2 dB", "decrease the volume of bass by 2 dB"),
        ("isolte vocals then pann them left", "separate vocals; pan vocals to the left side"),
        ("panthe drums left", "pan drums to the left side"),
    ],
)
def test_a_misspelt_text_is_refused_with_the_sentence_that_was_meant(text, said):
    with pytest.raises(EditError) as refused:
        parse(text)
    assert str(refused.value) == f"{text!r} is not understood as an edit; the nearest is {said!r}"
    parse_all([said])


@pytest.mark.parametrize(
    "text",
    [
        "make the vocals pop",
        "mute the synth",
        "mute drums and synth",
        "don't mute the drums",
        "unmute drums",
        "lowder vocals",  # louder, or lower
        "make the bass boomier",  # not roomier
        "mute the drums at 1:30",
        "louder vocals than drums",
        "mute drums or bass",
        "not only the drums",
        "remove reverb",
    ],
)
def test_no_sentence_is_suggested_where_it_would_ask_for_something_else(text):
    assert nearest(text) is None
    with pytest.raises(EditError, match=r"expected sentences such as 'mute vocals', .*, with the stems vocals, drums"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("cut the vocals", ("mute vocals", "lower vocals")),
        ("drop the drums and bass", ("mute drums and bass", "lower drums and bass")),
        ("vocals 3 dB", ("raise vocals by 3 dB", "lower vocals by 3 dB")),
        ("reduce the bass by -3 dB", ("raise bass by 3 dB", "lower bass by 3 dB")),
        ("turn down everything but bass by -2 dB", ("raise everything but bass by 2 dB", "lower everything but bass by 2 dB")),
        ("make the vocals -2 dB louder", ("raise vocals by 2 dB", "lower vocals by 2 dB")),
        ("only turn up the vocals", ("isolate vocals", "raise vocals")),
    ],
)
def test_a_sentence_with_two_readings_is_asked_back_with_both(text, readings):
    with pytest.raises(EditError) as asked:
        parse(text)
    assert "has two readings" in str(asked.value)
    for reading in readings:
        assert repr(reading) in str(asked.value)
        parse(reading)


@given(st.text(max_size=40))
def test_the_nearest_sentence_of_any_text_is_a_sentence(text):
    if (found := nearest(text)) is not None:
        parse_all([found])


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
    with pytest.raises(EditError, match="leaves nothing; to have none of it, write 'mute drums'"):
        parse("lower the drums by 100 %")
    with pytest.raises(EditError, match="expected a cutoff from 20 to 20000 Hz"):
        parse("low pass the drums at 30 kHz")
    with pytest.raises(EditError, match="is about all stems: nothing would be left"):
        parse("mute everything")
    with pytest.raises(EditError, match="at most 2000 characters; got 10000"):
        parse("a" * 10_000)
    with pytest.raises(ValueError, match="cannot say"):
        say(Edit("volume", ("drums",), -3.0), wordings("volume")[0])


def test_several_edits_in_one_text_or_in_several():
    once = parse_all(["mute drums; raise vocals by 3 dB", "pan bass to the left side;"])
    assert [edit.operation for edit in once] == ["mute", "volume", "pan"]
    assert parse_all(["mute drums, then raise vocals by 3 dB and pan them left"]) == [
        Edit("mute", ("drums",)),
        Edit("volume", ("vocals",), 3.0),
        Edit("pan", ("vocals",), "left"),
    ]
    assert parse("mute drums, then raise vocals by 3 dB") == Edit("mute", ("drums",))
    for empty in ([" ; "], [""], []):
        with pytest.raises(EditError, match="expected an edit, such as 'mute vocals'"):
            parse_all(empty)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mute drums and turn them up", "leaves 'drums' out, and then changes it"),
        ("karaoke, then make the vocals louder", "leaves 'vocals' out, and then changes it"),
        ("mute everything but drums then raise vocals", "leaves 'vocals' out, and then changes it"),
        ("solo the bass, then solo the drums", "leaves 'drums' out, and then changes it"),
        ("solo drums, mute drums", "leaves nothing: it isolates drums and then mutes it"),
        ("turn them up", "it names no stem"),
        ("pan vocals 0 % left", "write 'pan vocals centre'"),
        ("make the mix less loud than drums", "'than' is not understood there"),
    ],
)
def test_a_text_that_contradicts_itself_or_names_nothing_is_refused_with_the_reason(text, said):
    with pytest.raises(EditError, match=said):
        parse(text)


def test_a_clause_without_a_stem_goes_on_about_the_one_before():
    assert parse_all(["make the drums punchier, a bit wider and 2 dB louder"]) == [
        Edit("compressor", ("drums",), "medium"),
        Edit("width", ("drums",), "slightly wider"),
        Edit("volume", ("drums",), 2.0),
    ]
    assert parse_all(["mute drums; turn everything else up by 2 dB"])[1] == Edit("volume", ("bass", "other", "vocals"), 2.0, ("drums",))
    with pytest.raises(EditError, match="is not understood"):
        parse("turn up the vocals; the rest")


def test_other_names_of_stems_are_understood_on_request():
    assert parse("mute the kick drum", stems=("kick drum", "snare")).stems == ("kick drum",)
    assert parse("mute snares", stems=("kick drum", "snare")).stems == ("snare",)
    assert parse("Raise Lead-Vox_2 by 3 dB", stems=("Lead-Vox_2", "vocals")).stems == ("Lead-Vox_2",)
    with pytest.raises(EditError, match="nearest is 'mute snare'"):
        parse("mute the snrae", stems=("kick drum", "snare"))
    with pytest.raises(EditError, match="no sentence has the word 'drums'"):
        parse("mute the drums", stems=("snare", "kick"))


def test_every_operation_has_wordings_for_training_and_held_out_wordings():
    for operation, more in itertools.product(OPERATIONS, (False, True)):
        for amount in amounts(operation, more=more):
            shown, held_out = (wordings(operation, amount=amount, held_out=flag, more=more) for flag in (False, True))
            assert shown
            assert held_out
            assert {wording.text for wording in shown}.isdisjoint(wording.text for wording in held_out)


def test_wordings_and_amounts_of_the_first_version_are_still_what_is_drawn():
    for operation in FIRST_OPERATIONS:
        assert {*wordings(operation), *wordings(operation, amount=-3.0)} <= set(WORDINGS)
        assert wordings(operation, more=True)[: len(wordings(operation))] == wordings(operation)
    assert amounts("pan") == SIDES
    assert [len(wordings(operation)) for operation in FIRST_OPERATIONS] == [6, 5, 6, 2, 2, 2, 3]


def test_every_chain_is_one_that_the_effects_take():
    for _, edit, _ in labelled_sentences((("vocals",), ("bass", "other"))):
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


def test_an_edit_of_all_but_some_stems_is_about_all_others_that_there_are():
    edit = parse("turn everything but the vocals down by 3 dB")
    assert chains(edit, "vocals") == ((),)
    assert chains(edit, "guitar") == chains(edit, "bass") != ((),)
    assert edit.over(["vocals", "kick", "snare"]).stems == ("kick", "snare")


@settings(max_examples=30)
@given(st.sampled_from([edit for edit in amounts("eq") if "less" not in edit]))
def test_less_of_a_sound_undoes_it(amount):
    *degree, word = amount.split()
    (more,), (less,) = (chains(Edit("eq", ("drums",), each), "drums")[0] for each in (amount, " ".join([*degree, "less", word])))
    gains = {name for name in more.settings if name.endswith("gain_db")}
    assert gains
    assert all(more.settings[name] == -less.settings[name] for name in gains)
