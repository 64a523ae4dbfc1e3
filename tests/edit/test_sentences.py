"""Sentences as people type them, words at random, and every pattern with every word: what is understood is understood as it is meant."""

import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from stemwright.datagen.edit.grammar import STEMS, Edit, EditError, parse_all
from stemwright.datagen.edit.language import words
from stemwright.datagen.edit.language.patterns import TABLE, rules
from stemwright.datagen.edit.language.sentence_reader import Reader
from stemwright.datagen.edit.language.spoken_forms import MEANINGS, listed_words, phrases, spoken, varied

HERE = Path(__file__).parent
REFUSED = "refused"
SLOTS = {
    "S": ["vocals", "the drums and bass"],
    "Q": ["by 3 dB", "a bit", "a lot", "in half"],
    "A": ["2 dB", "two decibels"],
    "G": ["+2 dB", "minus 2 dB"],
    "PC": ["30 %", "thirty percent"],
    "HZ": ["200 Hz", "1.5 kHz"],
    "SHARE": ["30 %", "slightly", "halfway"],
    "SIDE": ["left", "right side"],
    "D": ["slightly", "a lot"],
    "F": ["low pass", "high pass filter"],
    "ST": ["light", "heavy"],
    "SANS": ["drumless"],
    "TB": list(words.EQ_FORMS),
    "TC": [forms[1] for forms in words.EQ_FORMS.values()],
    "TV": ["brighten", "warm up", "smooth out"],
    "TN": ["brightness", "mud", "top end"],
}
UP = ("N+", "V+", "L+", "P+", "M+", "DOUBLE", "X2", "GIVE", "APPLY", "LD-", "TM+", "NE+")
DOWN = ("N-", "V-", "L-", "P-", "M-", "HALVE", "X/2", "C", "TAKE", "LD+", "BACK", "TM-", "NE-")
AGAINST = ("don't", "not", "never", "unmute", "stop", "without touching", "or", "than", "except when", "synth", "chorus", "nope")


def listed(name: str) -> list[tuple[str, str]]:
    """(meaning, sentence) for each line of a list."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" | ", 1)) for line in lines if line and not line.startswith("#")]


def agrees(meaning: str, edit: Edit) -> bool:
    """Whether an edit is what a line of a list says."""
    operation, stems, amount = (*meaning.split(" ", 2), "")[:3]
    named = ",".join(edit.stems) if edit.all_but is None else f"all-but:{','.join(edit.all_but)}"
    if (operation, stems) != (edit.operation, named):
        return False
    if not amount:
        return True
    if operation == "volume":
        return edit.amount * float(f"{amount}1") > 0.0 if amount in "+-" else edit.amount == pytest.approx(float(amount), abs=0.01)
    if operation == "eq":
        return edit.amount.split()[-1] == amount.removeprefix("-") and ("less" in edit.amount) == amount.startswith("-")
    if operation == "width":
        return {"+": "wider", "-": "narrower", "0": "mono"}[amount] in edit.amount
    return str(edit.amount).removesuffix(".0") == amount


def understood(text: str) -> list[Edit]:
    """The edits of a text; none if it is refused."""
    try:
        return parse_all([text])
    except EditError:
        return []


def judged(name: str) -> dict[str, list[str]]:
    """The sentences of a list: right, missed and wrong."""
    found: dict[str, list[str]] = {"right": [], "missed": [], "wrong": []}
    for meaning, text in listed(name):
        edits = understood(text)
        wanted = [] if meaning == REFUSED else meaning.split(" then ")
        right = len(edits) == len(wanted) and all(map(agrees, wanted, edits))
        found["right" if right else "wrong" if edits else "missed"].append(text)
    return found


def test_sentences_as_people_type_them_mean_what_they_mean():
    assert len(listed("sentences.txt")) >= 150
    assert sum(meaning == REFUSED for meaning, _ in listed("sentences.txt")) >= 25
    assert judged("sentences.txt") | {"right": []} == {"right": [], "missed": [], "wrong": []}


def test_sentences_that_were_held_out_are_understood_or_refused():
    found = judged("sentences_held_out.txt")
    assert len(listed("sentences_held_out.txt")) == 60
    assert not found["wrong"]
    assert len(found["missed"]) <= 2


# What people type to the programs of others, from the tests and prompts of public repositories for mixing by text.
TYPED_ELSEWHERE = {
    "turn down the drums by 25 percent": "volume drums -2.5",
    "turn down the drums completely": "mute drums",
    "pan the bass left 30": "pan bass 30 % left",
    "pan drums 30 left": "pan drums 30 % left",
    "lower the mix by 1.5 dB": "volume all-but: -1.5",
    "make the bass deeper": "eq bass deep",
    "make drums louder and vocals lower": "volume drums + then volume vocals -",
    "vocals -3dB drums +6dB": "volume vocals -3 then volume drums +6",
    "the vocal is 3 dB too loud": "volume vocals -3",
    "I need the lead vocal back to center, please.": REFUSED,
    "I need the vocal back to center, please.": "pan vocals centre",
    "Put reverb on the vocals and turn the drums down 3 dB.": "reverb vocals then volume drums -3",
    "nudge the bass up by 0.5 dB": "volume bass +0.5",
    "Mute everything except the vocals and drums.": "isolate vocals,drums",
    "the drums need more punch": "compressor drums",
    "vocals are too harsh": "eq vocals -harsh",
    "bring the vocals forward": "volume vocals +",
    "set the bass to 50%": REFUSED,
    "turn down the bass track to -6dB": REFUSED,
    "unsolo the bass": REFUSED,
    "more reverb send on the drums": REFUSED,
    "turn the vocals up. no, down. no, up.": REFUSED,
    "the drums are muted": REFUSED,
    "how do I mute the drums": REFUSED,
    "Bring the vocals back to their natural level": REFUSED,
    "mute the drums at bar 9": REFUSED,
}


@pytest.mark.parametrize("text", TYPED_ELSEWHERE)
def test_sentences_that_are_typed_to_the_programs_of_others(text):
    meaning, edits = TYPED_ELSEWHERE[text], understood(text)
    wanted = [] if meaning == REFUSED else meaning.split(" then ")
    assert len(edits) == len(wanted)
    assert all(map(agrees, wanted, edits))


def test_a_sentence_of_a_list_that_means_something_else_is_found_wrong():
    assert not agrees("volume vocals -3", Edit("volume", ("vocals",), 3.0))
    assert not agrees("volume vocals +", Edit("volume", ("drums",), 3.0))
    assert not agrees("eq vocals bright", Edit("eq", ("vocals",), "less bright"))


OPERATION_OF = {name: operation for operation, (_, names) in reversed(MEANINGS.items()) for name in names}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_pattern_with_every_word_means_its_operation_or_asks(name):
    for rule in rules():
        if rule.name != name:
            continue
        for text in varied(rule, SLOTS):
            with_direction = [edit for edit in understood(text) if edit.operation == "volume"]
            assert {edit.operation for edit in understood(text)} <= expected(name, text), text
            assert rule.sign == 0.0 or all(edit.amount * rule.sign >= 0.0 for edit in with_direction), text


def expected(name: str, text: str) -> set[str]:
    if name == "ask only" and text.startswith("just "):  # a word before a verb, not one for stems
        return {"volume", "mute"}
    if name.startswith("ask"):
        return set()
    if (name == "filter" and "high" in text) or "low cut" in text:
        return {"highpass"}
    return {OPERATION_OF[name]}


def test_most_patterns_are_understood_with_their_first_words():
    not_alone = {"ask cut", "ask to", "ask only", "volume as before", "bare", *(name for name in TABLE if name.endswith("also"))}
    for rule in rules():
        first = next(varied(rule, SLOTS))
        if rule.name not in not_alone and "REST" not in rule.kinds and rule.kinds.count("Q") + rule.kinds.count("D") < 2:
            assert understood(first) or rule.kinds.count("SHARE") > 1, (rule, first)


def kinds_of(text: str) -> set[str]:
    return {kind for item in Reader(text, STEMS).items for kind in item.kinds}


PHRASES = sorted({phrase for listed in words.PHRASES.values() for phrase in listed.split("|")})
COMMON = [
    "vocals",
    "drums",
    "the bass",
    "by 3 dB",
    "a bit",
    "and",
    "then",
    "left",
    "up",
    "down",
    "louder",
    "quieter",
    "turn",
    "mute",
    "only",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(COMMON) | st.sampled_from(PHRASES), min_size=2, max_size=7))
def test_words_at_random_never_give_an_edit_against_them(chosen):
    text = " ".join(chosen)
    edits = understood(text)
    if not edits:
        return
    kinds = kinds_of(text)
    volumes = [edit.amount for edit in edits if edit.operation == "volume"]
    assert not any(amount > 0.0 for amount in volumes) or kinds & {*UP, "G"}
    assert not any(amount < 0.0 for amount in volumes) or kinds & {*DOWN, "G"}
    named = {name for item in Reader(text, STEMS).items for kind, name in item.kinds.items() if kind == "STEM"}
    if not kinds & {"ALL", "INSTRUMENTS", "ACC", "REST", "KAR", "ACAP", "IT"}:
        assert {stem for edit in edits for stem in edit.stems} <= named


@settings(max_examples=200)
@given(
    st.sampled_from([text for meaning, text in listed("sentences.txt") if meaning != REFUSED]),
    st.sampled_from(AGAINST),
    st.floats(0.0, 1.0),
)
def test_a_sentence_with_a_word_that_is_against_it_or_unknown_is_never_an_edit(text, word, place):
    parts = text.split()
    parts.insert(round(place * len(parts)), word)
    assert understood(" ".join(parts)) == []


@settings(max_examples=200)
@given(st.sampled_from([text for meaning, text in listed("sentences.txt") if meaning.startswith("volume") and "then" not in meaning]))
def test_politeness_case_and_punctuation_change_nothing(text):
    meant = understood(text)
    plain = text.rstrip(".!?")
    for other in (text.upper(), f"please {text}", f"{plain}!", f"  {plain} , please.", text.replace(" the ", " "), f"hey, {text}"):
        assert understood(other) == meant, other


def test_the_work_grows_with_the_length_of_a_text_and_no_faster():
    def steps(text: str) -> int:
        reader = Reader(text, STEMS)
        reader.readings()
        return reader.steps

    for clause in ("turn the vocals, drums and bass up by 3 dB", "vocals and drums", "mute everything but piano and bass", "up down left"):
        few, many = steps("; ".join([clause] * 4)), steps("; ".join([clause] * 40))
        assert many <= 11 * few
        few, many = steps(" and ".join([clause] * 4)), steps(" and ".join([clause] * 40))
        assert many <= 11 * few


def test_a_part_of_a_stem_is_understood_where_it_is_a_stem():
    assert parse_all(["kick drum up 2 dB"], stems=("kick", "snare")) == [Edit("volume", ("kick",), 2.0)]
    assert parse_all(["lead vocals louder"], stems=("vocals", "lead vocals"))[0].stems == ("lead vocals",)
    assert parse_all(["kick the drums up 2 dB"]) == [Edit("volume", ("drums",), 2.0)]
    with pytest.raises(EditError, match="'kick drum' is a part of the stem 'drums', and no stem here"):
        parse_all(["kick drum up 2 dB"])


@pytest.mark.parametrize(("text", "size_db"), [("a bit too loud", -3.0), ("too loud", -6.02), ("much too loud", -12.0)])
def test_the_degree_of_a_complaint_is_its_amount(text, size_db):
    assert parse_all([f"the bass is {text}"])[0].amount == pytest.approx(size_db, abs=0.01)
    assert parse_all([f"{text.replace('loud', 'much')} bass".replace("much too much", "way too much")])[0].amount == pytest.approx(
        size_db, abs=0.01
    )


def suggested(text: str) -> list[str]:
    """The sentences that the error of a text offers."""
    with pytest.raises(EditError) as refused:
        parse_all([text])
    _, *offered = re.split("; .*?write |sentences such as |the nearest is ", str(refused.value))
    return re.findall(r"(?<!\w)'([^']+)'(?!\w)", "".join(offered))


def test_each_sentence_that_is_suggested_is_understood():
    asked = [text for meaning, text in listed("sentences.txt") if meaning == REFUSED]
    asked += ["set the bass to 50%", "set bass to 0 dB", "set bass to -70 dB", "only turn vocals up by 2 dB", "only mute the drums"]
    offers = {text: suggested(text) for text in asked}
    assert sum(map(len, offers.values())) >= 12
    for text, sentences in offers.items():
        assert all(understood(each) and each != text for each in sentences), (text, sentences)


def test_a_level_is_answered_with_changes_of_the_number_and_the_direction_that_were_typed():
    assert suggested("set vocals to -6 dB") == ["lower vocals by 6 dB"]
    assert suggested("reduce the vocals to 4 dB") == ["lower vocals by 4 dB"]
    assert suggested("set vocals to 5 dB") == ["raise vocals by 5 dB", "lower vocals by 5 dB"]


def test_what_can_be_said_is_listed_from_what_is_read():
    shown = {each.operation: each.forms for each in spoken()}
    assert set(OPERATION_OF) == {name for name in TABLE if not name.startswith("ask")}
    assert "[slightly] turn [volume of] STEMS [volume] up/down [AMOUNT]" in shown["volume"]
    assert "high pass STEMS" in shown["highpass"]
    assert "turn up" in phrases("V+")
    assert "singer" in listed_words()["stem vocals"]
