"""Synthetic songs that are mixed as a person would mix them: effects, levels and pans of every part follow from its sound, with a scatter.

Score, instruments and voice are those of songs.py; what ``songs.render_song`` then draws by chance is here a decision about what is heard.
Parts are rendered dry, `musical_effects` chooses the effects of each, the parts of the stem ``other`` get levels and pans among all parts
of the song by `musical_levels.musical_levels`, and then the stems do among themselves.

What depends on what
    highpass_hz  0.7 of the lowest frequency that a part plays (not drums and bass): below it there is only noise.
    tilt_db      TILT dB for each octave that a part is duller than usual for its role, within 6 dB: dull parts are brightened. Ours.
    bell_db      at the band in which the leads are strongest, CUT dB for each dB by which others cover a part that does not lead: room is
                 made for the voice. Ours.
    ratio        1.5, and RATIO for each dB of punch above usual, of a compressor THRESHOLD_DB above the mean level; 1 more for bass (low
                 frequencies are compressed more than high ones: Pestana, Reiss 2014, measured, as others quote it). The numbers are ours.
    reverb_db    the level of the tail under the part: REVERB_DB, and SPARSE dB between a part that plays all the time and one that never
                 does; none for bass, 6 dB less for drums. All tails together were 11 to 16 LU below the mix in 8 songs (De Man, McNally,
                 Reiss 2017, by its summary: about 14 LU).
    Each has a scatter of a normal deviate, whose size is beside it in `musical_effects`.
    chorus       with ``chorus = 1``, levels follow the arrangement: every second section of SECTION_BARS bars is a chorus, in which stems
                 are louder by CHORUS_DB; they rise and fall over its first and last beat. No published figure was found: the numbers are
                 ours. Without it, as in all songs that tables rest on, levels stay as they are.

Conventions
    As songs.py: stems float32 [2, T] in the order of ``songs.STEMS``, the same seed gives the same samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from musical_levels import ROLES, Heard, Role, band_edges, band_energies, hear, mixed, musical_levels
from song_drums import render_drums
from song_filters import butter, compress, hertz, peak_filter, reverberate, tilt
from song_instruments import LEADS, RHYTHM, render_bass, render_part
from song_midi import FREE_FONT, GM_BASSES, GM_CHORDS, GM_DRUMS, GM_KITS, GM_LEADS, midi_file, play_midi
from song_score import Note, Score, compose
from song_voice import render_vocals

Array = np.ndarray

SECTION_BARS, CHORUS_DB = 4, {"drums": 1.5, "bass": 1.0, "other": 2.0, "vocals": 1.0}
TILT, CUT, RATIO, THRESHOLD_DB, REVERB_DB, SPARSE = 2.0, -2.0, 0.4, 3.0, -16.0, 14.0


@dataclass(frozen=True)
class Effects:
    """The effects of one part; neutral values leave it as it is. ``reverb_db`` is -inf where there is none."""

    highpass_hz: float = 0.0
    tilt_db: float = 0.0
    bell_hz: float = 1000.0
    bell_db: float = 0.0
    ratio: float = 1.0
    reverb_db: float = -np.inf


@dataclass(frozen=True)
class Arrangement:
    """What is known of parts beside their sound: the role of each, one of ``musical_levels.ROLES``, and the lowest frequency it plays."""

    roles: Mapping[str, str]
    lowest_hz: Mapping[str, float]


def musical_effects(
    parts: Mapping[str, Array], sample_rate: int, seed: int, *, arrangement: Arrangement, scatter: float = 1.0
) -> dict[str, Effects]:
    """The effects of every part that sounds, as the head of this module says; ``scatter = 0`` gives the rule alone."""
    heard, found, roles = hear(parts, sample_rate), dict[str, Effects](), arrangement.roles
    lead_hz = strongest_hz({name: parts[name] for name in heard if ROLES[roles[name]].leads}, sample_rate)
    for name, sound in heard.items():
        rng = np.random.default_rng([seed, 79, *name.encode()])
        drawn = scatter * rng.standard_normal(5)
        role = ROLES[roles[name]]
        low = roles[name] in ("drums", "bass")
        found[name] = Effects(
            highpass_hz=0.0 if low else 0.7 * arrangement.lowest_hz.get(name, 0.0) * 2 ** (0.2 * drawn[0]),
            tilt_db=float(np.clip(TILT * (role.octaves - sound.octaves), -6.0, 6.0)) + 0.8 * drawn[1],
            bell_hz=lead_hz,
            bell_db=0.0 if role.leads or not lead_hz else float(np.clip(CUT * sound.covered_db, -6.0, 0.0)) + 0.5 * drawn[2],
            ratio=max(1.0, _ratio(sound, role) + (roles[name] == "bass") + 0.3 * drawn[3]),
            reverb_db=-np.inf if roles[name] == "bass" else REVERB_DB + SPARSE * (1 - sound.density) - 6.0 * low + 1.5 * drawn[4],
        )
    return found


def _ratio(sound: Heard, role: Role) -> float:
    """The compression ratio that a part needs: the more, the further its loud moments stand out."""
    return 1.5 + RATIO * max(0.0, sound.punch_db - role.punch_db + 1.0)


def strongest_hz(parts: Mapping[str, Array], sample_rate: int) -> float:
    """The centre of the band above 500 Hz in which parts have most energy; 0 if there are none."""
    if not parts:
        return 0.0
    energy = sum((band_energies(audio, sample_rate).sum(axis=1) for audio in parts.values()), np.zeros(1))
    centres = np.sqrt(band_edges()[1:] * band_edges()[:-1])
    return float(centres[np.argmax(np.where(centres > 500.0, energy, -1.0))])


def affected(audio: Array, effects: Effects, sample_rate: int, rng: np.random.Generator) -> Array:
    """A part [2, T] through its effects; ``rng`` draws the room."""
    audio = audio / (np.sqrt(np.mean(audio**2)) + 1e-6) * 0.1
    if effects.highpass_hz > 20.0:
        audio = butter(audio, sample_rate, "highpass", effects.highpass_hz, 2)
    audio = tilt(audio, sample_rate, 2500.0, effects.tilt_db)
    audio = peak_filter(audio, sample_rate, effects.bell_hz or 1000.0, effects.bell_db, 1.0)
    if effects.ratio > 1.0:
        audio = compress(audio, sample_rate, -20.0 + THRESHOLD_DB, effects.ratio, 0.02)
    if np.isfinite(effects.reverb_db):
        audio = reverberate(rng, audio, sample_rate, 10 ** (effects.reverb_db / 20))
    return audio


def dry_parts(rng: np.random.Generator, score: Score, sample_rate: int, *, sampled: bool) -> dict[str, Array]:
    """Every part of a score without effects [2, T], by synthesisers or (``sampled``, most of them) from a sound font of MIT licence."""
    num_frames = round(score.duration_s * sample_rate)
    lines = {f"other{number}": notes for number, notes in enumerate(score.chordal)} | ({"lead": score.lead} if rng.random() < 0.5 else {})

    def played(notes: list[Note], program: int, channel: int = 0) -> Array:
        return play_midi(midi_file({channel: (program, notes)}, {}), num_frames, sample_rate, FREE_FONT, reverb=False)

    def chosen(share: float) -> bool:
        return sampled and bool(rng.random() < share)

    parts = {}
    if chosen(0.75):
        keys = {name: pitches[rng.integers(len(pitches))] for name, pitches in GM_DRUMS.items()}
        hits = [Note(max(at, 0.0), 0.2, keys[name], velocity) for at, name, velocity in score.drums]
        parts["drums"] = played(hits, int(rng.choice(GM_KITS)), 9)
    else:
        parts["drums"] = render_drums(rng, score, sample_rate)
    parts["bass"] = played(score.bass, int(rng.choice(GM_BASSES))) if chosen(0.7) else render_bass(rng, score, sample_rate)
    for name, notes in lines.items():
        if chosen(0.85):
            parts[name] = played(notes, int(rng.choice(GM_LEADS if name == "lead" else GM_CHORDS)))
        else:
            parts[name] = render_part(rng, score, notes, sample_rate, LEADS if name == "lead" else RHYTHM)
    return parts | {"vocals": render_vocals(rng, score, sample_rate)}


def arranged(score: Score, parts: Mapping[str, Array]) -> Arrangement:
    """The roles of the parts of a score, and the lowest frequencies of those that have notes."""
    lines = {f"other{number}": notes for number, notes in enumerate(score.chordal)} | {"lead": score.lead, "vocals": score.melody}
    lowest = {name: float(hertz(min(note.pitch for note in notes))) for name, notes in lines.items() if notes}
    return Arrangement({name: "other" if name.startswith("other") else name for name in parts}, lowest)


def chorus_share(score: Score, seed: int, sample_rate: int) -> Array:
    """[T]: how far each sample is in a chorus, 0 to 1; whether the song begins with one is drawn."""
    beat_s, section_s = 4 * score.step_s, SECTION_BARS * score.steps_per_bar * score.step_s
    first = float(np.random.default_rng([seed, 81]).integers(2)) * section_s  # where a chorus begins
    place_s = (np.arange(round(score.duration_s * sample_rate)) / sample_rate - first) % (2 * section_s)
    return np.interp(place_s, [0.0, beat_s, section_s - beat_s, section_s], [0.0, 1.0, 1.0, 0.0])


def render_musical_song(
    seed: int, duration_s: float, sample_rate: int = 44_100, *, timbre: str = "synth", scatter: float = 1.0, chorus: float = 0.0
) -> dict[str, Array]:
    """Renders one song: stem name -> float32 [2, T] in the order of ``songs.STEMS``.

    ``timbre`` is "synth" or "soundfont", as for ``songs.render_song``; a song of one seed is another than there. ``scatter`` scales what is
    drawn of effects, levels and pans, ``chorus`` how much louder a chorus is. Raises ValueError on another timbre.
    """
    if timbre not in ("synth", "soundfont"):
        raise ValueError(f'timbre is "synth" or "soundfont", got {timbre!r}')
    rng = np.random.default_rng([seed, 20_111])
    score = compose(rng, duration_s)
    parts = dry_parts(rng, score, sample_rate, sampled=timbre == "soundfont")
    arrangement = arranged(score, parts)
    effects = musical_effects(parts, sample_rate, seed, arrangement=arrangement, scatter=scatter)
    parts = {name: affected(audio, effects[name], sample_rate, rng) if name in effects else audio for name, audio in parts.items()}
    settings = musical_levels(parts, sample_rate, seed, roles=arrangement.roles, scatter=scatter)
    lines = mixed({name: parts[name] for name in parts if arrangement.roles[name] in ("other", "lead")}, settings, sample_rate)
    stems = {"drums": parts["drums"], "bass": parts["bass"], "other": sum(lines.values()), "vocals": parts["vocals"]}
    stems = mixed(stems, musical_levels(stems, sample_rate, seed, scatter=scatter), sample_rate)
    if chorus:
        share = chorus_share(score, seed, sample_rate)
        stems = {name: audio * 10 ** (chorus * CHORUS_DB[name] * share / 20) for name, audio in stems.items()}
    scale = rng.uniform(0.3, 0.95) / max(float(np.abs(sum(stems.values())).max()), 1e-6)
    return {name: (audio * scale).astype(np.float32) for name, audio in stems.items()}
