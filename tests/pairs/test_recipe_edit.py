import re

import numpy as np
import pytest
import torch
from rows import corpus_rows, estimate_of, stems_of, track

from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.edit.grammar import (
    FIRST_OPERATIONS,
    MORE_WORDINGS,
    OPERATIONS,
    WORDINGS,
    Edit,
    amounts,
    chains,
    cutoff_hz,
    parse,
)
from stemwright.datagen.effects import apply_chain
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import ConfigError, check
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.sound.decoding import load

RATE = 44_100
STEP = 2.0**-23


def planned(per_track=4, rows=None, sample_rate=RATE, **keys):
    pairs = {"duration_s": 1.0, "sample_rate": sample_rate, "edit": {"per_track": per_track, **keys}}
    config = check({"seed": 4, "pairs": {**pairs, "mix": {"per_track": 0}, "removal": {"per_track": 0}}}, where="test")
    result = plan_pairs(config, *(rows or corpus_rows(1)))
    assert not result.rejected
    return [pair for pair in result.pairs if pair.kind == "edit"]


def rows_of(split):
    row = track(0, split=split)
    stems = stems_of(row)
    return [row], stems, [estimate_of(stem) for stem in stems]


NAMES = {stem.id: stem.name for stem in corpus_rows(1)[1]}


@pytest.fixture(scope="module")
def noise():
    """Stems of white noise: every frequency can be measured in them."""
    rng = np.random.default_rng(0)
    stems = {name: 0.05 * rng.standard_normal((2, 25 * RATE)).astype(np.float32) for name in NAMES.values()}
    return lambda source_id, start, count, _: stems[NAMES[source_id]][:, start : start + count]


@pytest.fixture(scope="module")
def pairs():
    return planned(400)


def by_operation(pairs):
    found = {}
    for pair in pairs:
        found.setdefault(parse(pair.text).operation, []).append(pair)
    return found


def test_all_operations_selections_and_amounts_are_drawn(pairs):
    edits = [parse(pair.text) for pair in pairs]
    assert {edit.operation for edit in edits} == {wording.operation for wording in WORDINGS}
    assert {stem for edit in edits for stem in edit.stems} == {"drums", "bass", "other", "vocals"}
    assert {len(edit.stems) for edit in edits} == {1, 2, 3}
    assert any(edit.stems == tuple(sorted(edit.stems, reverse=True)) and len(edit.stems) > 1 for edit in edits)
    assert any(" dB" in pair.text for pair in pairs)
    assert {edit.amount for edit in edits if edit.operation == "pan"} == {"left", "right", "completely left", "completely right"}


def without_roles(chain):
    return tuple(use.model_copy(update={"role": None}) for use in chain)


def test_the_row_holds_the_label_twice_as_words_and_as_effects(pairs):
    for pair in pairs:
        edit = parse(pair.text)
        (before,), (after,) = pair.inputs, pair.targets
        edited, plain = (before, after) if edit.operation == "dereverb" else (after, before)
        assert [(branch.source_id, branch.chain) for branch in plain.branches] == [
            (source, ()) for source, name in NAMES.items() if name != "residual"
        ]
        expected = [(source, chain) for source, name in NAMES.items() if name != "residual" for chain in chains(edit, name)]
        assert [(branch.source_id, without_roles(branch.chain)) for branch in edited.branches] == expected
        # What the edit is about has a role; what only prepares for it has none.
        role = "removed" if edit.operation == "dereverb" else "added"
        assert all(
            [use.role for use in branch.chain] == [*[None] * (len(branch.chain) - 1), role] for branch in edited.branches if branch.chain
        )


@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_after_minus_before_is_processed_minus_original_on_written_audio(pairs, noise, tmp_path, encoding):
    for pair in [group[0] for group in by_operation(pairs).values()]:
        edit = parse(pair.text)
        example = FolderWriter(encoding).write(tmp_path, pair, render(pair, noise))
        before, after = (load(tmp_path / file.audio.path)[0] / db_to_gain(example.gain_db) for file in example.signals)
        sign = -1.0 if edit.operation == "dereverb" else 1.0
        expected = np.zeros_like(before)
        for source, name in NAMES.items():
            if name != "residual":
                stem = noise(source, pair.start_frame, pair.num_frames, RATE)
                parts = [apply_chain(torch.from_numpy(stem.copy()), RATE, chain).numpy() for chain in chains(edit, name)]
                expected += sign * (sum(parts, np.zeros_like(stem)) - stem)
        np.testing.assert_allclose(after - before, expected, atol=2 * STEP / db_to_gain(example.gain_db))


def test_volumes_measured_on_the_audio_are_those_of_the_text(noise):
    for pair in planned(8, operations=["volume"]):
        edit, out = parse(pair.text), render(pair, noise)
        named = sum(noise(source, pair.start_frame, pair.num_frames, RATE) for source, name in NAMES.items() if name in edit.stems)
        ratio = float(((out["after"] - out["before"]) * named).sum() / (named * named).sum()) + 1.0
        assert 20 * np.log10(ratio) == pytest.approx(edit.amount, abs=0.01)


def test_pans_measured_on_the_audio_are_the_published_shares(noise):
    for pair in planned(8, operations=["pan"], most_stems=1):
        edit, out = parse(pair.text), render(pair, noise)
        (source,) = (source for source, name in NAMES.items() if name in edit.stems)
        stem = noise(source, pair.start_frame, pair.num_frames, RATE)
        panned = out["after"] - out["before"] + stem
        near, far = (1.0, 0.0) if edit.amount.startswith("completely") else (0.8, 0.2)
        shares = (near, far) if edit.amount.endswith("left") else (far, near)
        np.testing.assert_allclose(panned, np.array(shares)[:, None] * stem.mean(axis=0), atol=1e-6)


def test_filters_measured_on_the_audio_are_3_db_down_at_the_published_cutoff(noise):
    for pair in planned(12, operations=["lowpass", "highpass"], most_stems=1):
        edit, out = parse(pair.text), render(pair, noise)
        ((source, name),) = ((source, name) for source, name in NAMES.items() if name in edit.stems)
        stem = noise(source, pair.start_frame, pair.num_frames, RATE)
        spectra = np.abs(np.fft.rfft([stem, out["after"] - out["before"] + stem], axis=-1)) ** 2
        hz = np.fft.rfftfreq(pair.num_frames, 1 / RATE)
        near = np.abs(np.log2(hz.clip(1) / cutoff_hz(edit, name))) < 0.1
        gain_db = 10 * np.log10(spectra[1][:, near].sum() / spectra[0][:, near].sum())
        assert gain_db == pytest.approx(-3.01, abs=0.7)


def test_a_muted_stem_is_removed_and_an_isolated_one_is_alone(noise):
    for pair in planned(8, operations=["mute", "isolate"], mixture="released"):
        edit, out = parse(pair.text), render(pair, noise)
        kept = [source for source, name in NAMES.items() if (name in edit.stems) == (edit.operation == "isolate")]
        expected = sum(noise(source, pair.start_frame, pair.num_frames, RATE) for source in kept)
        np.testing.assert_allclose(out["after"], expected, atol=1e-6)


def test_the_input_has_the_reverberation_and_its_tail_begins_after_32_ms(noise):
    (pair,) = planned(1, operations=["dereverb"])
    edit = parse(pair.text)
    tails = [branch.chain for branch in pair.inputs[0].branches if branch.chain]
    assert len(tails) == len(edit.stems)
    impulse = torch.zeros(2, RATE)
    impulse[:, 0] = 1.0
    tail = apply_chain(impulse, RATE, tails[0])
    first = int(torch.nonzero(tail.abs().amax(0))[0])
    assert 0.032 * RATE <= first < 0.08 * RATE  # the pre-delay, then the shortest comb
    assert tail[:, 40_000:].abs().max() > 0  # it rings on
    assert not [branch.chain for branch in pair.targets[0].branches if branch.chain]


def test_held_out_wordings_are_used_in_valid_and_test_only():
    def used(split):
        return {wording.text for pair in planned(150, rows_of(split)) for wording in WORDINGS if says(pair.text, wording)}

    held_out = {wording.text for wording in WORDINGS if wording.held_out}
    assert used("train").isdisjoint(held_out)
    for split in ("valid", "test"):
        texts = used(split)
        assert texts & held_out
        assert texts - held_out


def says(text, wording):
    """Whether a text is said in a wording: its fixed words stand in it in order, and it begins as the wording does."""
    pieces = [piece for piece in wording.text.replace("{A}", "|").replace("{S}", "|").split("|") if piece.strip()]
    return text.startswith(pieces[0].strip()) and all(piece.strip() in text for piece in pieces)


def test_cutoffs_that_the_rate_cannot_hold_are_not_drawn():
    amounts = {parse(pair.text).amount for pair in planned(60, sample_rate=8_000, operations=["highpass"], stems=["drums", "vocals"])}
    assert amounts == {"light", "medium"}


def test_the_residual_is_on_both_sides_or_on_none():
    residual = next(source for source, name in NAMES.items() if name == "residual")
    for mixture, wanted in (("sum", False), ("released", True)):
        for pair in planned(3, mixture=mixture, operations=["volume"]):
            for signal in (*pair.inputs, *pair.targets):
                assert (residual in {branch.source_id for branch in signal.branches}) == wanted


def test_what_cannot_be_edited_is_refused_with_its_reason():
    row = track(0)
    stems = stems_of(row, names=("kick", "residual"))
    config = check({"pairs": {"duration_s": 1.0, "edit": {"per_track": 1}}}, where="test")
    result = plan_pairs(config, [row], stems, [estimate_of(stem) for stem in stems])
    assert any("edit: none of kick can be named in an edit" in row.reason for row in result.rejected)
    stems = stems_of(row, names=("vocals", "residual"))
    config = check({"pairs": {"duration_s": 1.0, "edit": {"per_track": 1, "operations": ["mute", "isolate"]}}}, where="test")
    result = plan_pairs(config, [row], stems, [estimate_of(stem) for stem in stems])
    assert any("edit: none of mute, isolate is possible with vocals" in row.reason for row in result.rejected)


def test_a_stem_that_no_sentence_names_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="no sentence of the grammar names a stem 'vocal'; did you mean 'vocals'"):
        planned(stems=["vocal"])
    with pytest.raises(ConfigError, match="operations"):
        planned(operations=["louder"])


def test_labels_are_edits(pairs):
    assert all(isinstance(parse(pair.text), Edit) for pair in pairs)


def test_all_operations_are_drawn_where_they_are_configured():
    pairs = planned(300, operations=list(OPERATIONS), wordings="all")
    edits = [parse(pair.text) for pair in pairs]
    assert {edit.operation for edit in edits} == set(OPERATIONS)
    assert {edit.amount for edit in edits if edit.operation == "width"} == set(amounts("width"))
    assert {"25 % left", "50 % left"} <= {edit.amount for edit in edits if edit.operation == "pan"}
    for pair, edit in zip(pairs, edits, strict=True):
        (before,), (after,) = pair.inputs, pair.targets
        edited = before if edit.operation == "dereverb" else after
        expected = [(source, chain) for source, name in NAMES.items() if name != "residual" for chain in chains(edit, name)]
        assert [(branch.source_id, without_roles(branch.chain)) for branch in edited.branches] == expected


def test_by_default_rows_are_those_of_the_first_version():
    first = planned(40)
    assert first == planned(40, operations=list(FIRST_OPERATIONS), wordings="first")
    texts = [pair.text for pair in first]
    assert {parse(text).operation for text in texts} <= set(FIRST_OPERATIONS)
    assert all(any(says(text, wording) for wording in WORDINGS) for text in texts)


def test_further_wordings_are_held_out_too():
    def used(split):
        pairs = planned(200, rows_of(split), operations=["eq", "reverb", "compressor", "width"])
        return {wording.text for pair in pairs for wording in MORE_WORDINGS if says_whole(pair.text, wording)}

    held_out = {wording.text for wording in MORE_WORDINGS if wording.held_out and wording.operation in ("reverb", "compressor", "width")}
    assert used("train").isdisjoint(held_out)
    assert used("valid") & held_out


def says_whole(text, wording):
    """Whether a text is said in a wording, beginning to end."""
    stems = "(?:drums|bass|other|vocals|, | and )+"
    return re.fullmatch(re.escape(wording.text).replace(r"\{S\}", stems).replace(r"\{A\}", ".*"), text) is not None


def test_sounds_that_the_rate_cannot_hold_are_not_drawn():
    sounds = {parse(pair.text).amount.split()[-1] for pair in planned(60, sample_rate=16_000, operations=["eq"])}
    assert sounds
    assert "tinny" not in sounds  # it has a shelf at 9 kHz


def test_reverberation_has_the_level_of_its_strength(noise):
    for pair in planned(4, operations=["reverb"], most_stems=1):
        edit, out = parse(pair.text), render(pair, noise)
        (source,) = (source for source, name in NAMES.items() if name in edit.stems)
        stem = noise(source, pair.start_frame, pair.num_frames, RATE)
        level = 10 * np.log10(np.square(out["after"] - out["before"]).sum() / np.square(stem).sum())
        wanted = {"light": -20.0, "medium": -14.0, "heavy": -8.0}[edit.amount]
        assert level == pytest.approx(wanted, abs=3.0)  # of one second, a part of the tail of 1.2 s


@pytest.mark.parametrize(("word", "hz", "sign"), [("bright", 3500.0, 1), ("dark", 3500.0, -1), ("warm", 100.0, 1), ("muddy", 6500.0, -1)])
def test_a_sound_raises_or_lowers_where_its_word_says(word, hz, sign):
    impulse = torch.zeros(2, RATE)
    impulse[:, 0] = 1.0
    for less in (1, -1):
        edit = Edit("eq", ("drums",), ("less " if less < 0 else "") + word)
        response = np.abs(np.fft.rfft(apply_chain(impulse, RATE, chains(edit, "drums")[0]).numpy()[0]))
        assert sign * less * 20 * np.log10(response[round(hz)]) > 0.5
