"""What an effect does by itself, as rendering measures it."""

import math

import numpy as np
import pytest
import torch
from rows import corpus_rows
from test_render import RATE, pair, sources  # noqa: F401  # the fixture

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.pairs.audibility import INAUDIBLE, check_audible
from stemwright.datagen.pairs.chain_runs import ChainRuns, difference_db
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import check
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse, Refused

LEVEL = EffectUse(effect="loudness", settings={"target_db": -20.0, "measure": "lufs"})


def use(effect, role="removed", **settings):
    return EffectUse(effect=effect, settings=settings, role=role)


def measured(audio, *chain):
    return {each.change.position: each for each in ChainRuns(RATE).measure("root", audio, chain, signal="wet", branch=0)}


def without_db(audio, chain, position):
    """The change that leaving an effect out makes, computed the long way."""
    whole, rest = (
        apply_chain(torch.from_numpy(audio), RATE, uses).double().numpy() for uses in (chain, chain[:position] + chain[position + 1 :])
    )
    gain = (whole * rest).sum() / (rest * rest).sum()
    return 10.0 * math.log10(((gain * rest - whole) ** 2).sum() / (whole**2).sum())


@pytest.fixture
def drums(synthetic_song):
    return np.ascontiguousarray(synthetic_song["drums"][:, :60_000])


def test_a_change_is_the_difference_that_leaving_the_effect_out_makes_up_to_a_gain(drums):
    chain = (
        LEVEL,
        use("highpass", cutoff_hz=200.0),
        LEVEL,
        use("compressor", threshold_db=-30.0, ratio=4.0, makeup_db=6.0),
        use("eq", role="kept", peak1_gain_db=6.0),
        use("reverb", wet=0.3),
    )
    found = measured(drums, *chain)
    assert list(found) == [1, 3, 5]  # the kept one is not measured
    for position, each in found.items():
        assert each.change.change_db == pytest.approx(without_db(drums, chain, position), abs=0.02)
        assert each.least_db <= each.change.change_db + 0.01


def test_a_level_is_no_change_but_for_a_fader(drums):
    chain = (use("limiter", ceiling_db=0.0), use("fader", gain_db=-6.0), use("eq", low_shelf_gain_db=0.0))
    found = measured(drums, *chain)
    assert found[1].change.change_db == pytest.approx(20.0 * math.log10(10 ** (6 / 20) - 1.0), abs=0.01)
    for position in (0, 2):  # the ceiling is never reached, the equaliser is flat
        assert found[position].change.change_db is None
        assert found[position].least_db == -math.inf
    assert difference_db(0.5 * drums, drums, any_gain=True) < -120.0


def test_reductions_of_compressor_and_limiter_are_those_of_their_curves():
    tone = 0.5 * np.sin(2 * np.pi * 441.0 * np.arange(RATE) / RATE).astype(np.float32)[None]
    steady = {"detector_attack_ms": 0.0, "detector_release_ms": 5000.0, "attack_ms": 0.0, "release_ms": 0.0}
    found = measured(tone, use("compressor", threshold_db=-26.0, ratio=2.0, makeup_db=9.0, **steady))[0].change
    expected = (20.0 * math.log10(0.5) + 26.0) / 2.0  # half of what is above the threshold
    assert found.most_reduction_db == pytest.approx(expected, abs=0.02)
    assert found.mean_reduction_db == pytest.approx(expected, abs=0.2)
    limited = measured(tone, use("limiter", ceiling_db=-12.0, release_ms=5000.0))[0].change
    assert limited.most_reduction_db == pytest.approx(12.0 - 6.02, abs=0.02)
    assert measured(tone, use("clip", ceiling_db=-12.0))[0].change.mean_reduction_db is None
    silent = measured(0.0 * tone, use("limiter", ceiling_db=-12.0))[0]
    assert (silent.change.change_db, silent.change.mean_reduction_db) == (None, None)


def test_what_chains_begin_with_alike_is_computed_once_and_gives_the_same_bits(drums, monkeypatch):
    from stemwright.datagen.effects import highpass

    calls = []
    genuine = highpass.apply
    monkeypatch.setattr(highpass, "apply", lambda *arguments: calls.append(1) or genuine(*arguments))
    first, second = use("highpass", role="kept", cutoff_hz=100.0), use("lowpass", cutoff_hz=2000.0)
    runs = ChainRuns(RATE)
    dry = runs.run("root", drums, (first,)).audio
    wet = runs.run("root", drums, (first, second)).audio
    runs.measure("root", drums, (first, second), signal="wet", branch=0)
    assert len(calls) == 1
    monkeypatch.undo()
    assert torch.equal(dry, apply_chain(torch.from_numpy(drums), RATE, (first,)))
    assert torch.equal(wet, apply_chain(torch.from_numpy(drums), RATE, (first, second)))


def test_a_pair_is_refused_with_what_cannot_be_heard(sources):  # noqa: F811
    read, ids = sources
    ceiling = use("clip", ceiling_db=0.0)

    def planned(inputs, targets):
        return pair(inputs, targets).model_copy(update={"min_change_db": -40.0})

    def refusal(one):
        with pytest.raises(Refused) as refused:
            check_audible(one, render(one, read))
        assert str(refused.value).startswith(INAUDIBLE)
        return str(refused.value)

    def branch(name, *chain):
        return Branch(source_id=ids[name], chain=chain)

    dry = Signal(name="dry", branches=(branch("drums"),))
    assert "the removed clip changes nothing, expected at least -40 dB" in refusal(
        planned([Signal(name="wet", branches=(branch("drums", ceiling),))], [dry])
    )
    heard = planned([Signal(name="wet", branches=(branch("drums", use("clip", ceiling_db=-20.0)),))], [dry])
    check_audible(heard, render(heard, read))
    assert [change.effect for change in render(heard, read).changes] == ["clip"]
    # A stem that an edit mutes has to be heard in the mix.
    faint = tuple(EffectUse(effect="fader", settings={"gain_db": -30.0}) for _ in range(2))
    both = Signal(name="before", branches=(branch("drums"), branch("vocals", *faint)))
    assert "what is done to the stem" in refusal(planned([both], [Signal(name="after", branches=(branch("drums"),))]))
    # What no gain of 40 dB brings to its loudness has none.
    assert "too quiet" in refusal(
        planned([Signal(name="wet", branches=(branch("drums", *faint, LEVEL, use("clip", ceiling_db=-20.0)),))], [dry])
    )


@pytest.mark.parametrize("section", [{"kind": "removal", "preset": "wide"}, {"kind": "remix", "mode": "console"}, {"kind": "limit"}])
def test_every_removed_or_added_effect_of_what_is_rendered_has_its_change(section, synthetic_song):
    kind, keys = section["kind"], {name: value for name, value in section.items() if name != "kind"}
    sections = {name: {"per_track": 0} for name in ("mix", "removal")} | {kind: {"per_track": 6, **keys}}
    tracks, stems, estimates = corpus_rows(1)
    pairs = plan_pairs(check({"seed": 4, "pairs": {"duration_s": 1.0, **sections}}, where="test"), tracks, stems, estimates).pairs
    names = {stem.id: stem.name for stem in stems}

    def read(source_id, start_frame, num_frames, sample_rate):
        audio = synthetic_song.get(names[source_id], np.zeros_like(synthetic_song["mixture"]))
        return np.ascontiguousarray(np.take(audio, np.arange(start_frame, start_frame + num_frames) % audio.shape[1], axis=1))

    for one in pairs:
        out = render(one, read)
        views = [signal for signal in (*one.inputs, *one.targets) if signal.view == "audio"]
        chains = [(signal.name, number, branch.chain) for signal in views for number, branch in enumerate(signal.branches)]
        chains += [(signal.name, None, signal.bus) for signal in views]
        wanted = {
            (name, number, at) for name, number, chain in chains for at, each in enumerate(chain) if each.role in ("removed", "added")
        }
        assert {(change.signal, change.branch, change.position) for change in out.changes} == wanted
        assert wanted
        if out.inaudible is None:
            assert min(change.change_db for change in out.changes) >= one.min_change_db
