"""Folders as published multitracks have them, after their public descriptions, with tiny sounds: for tests."""

import json

import numpy as np
import yaml
from conftest import write_song_file

RATE = 44_100
FRAMES = 8_000


def sound(seed, num_frames=FRAMES, channels=2, level=0.1):
    """Noise of its own [C, T], which is on the grid of 24 bits."""
    noise = level * np.random.default_rng(seed).standard_normal((channels, num_frames))
    return (np.rint(noise * 2**23) / 2**23).astype(np.float32)


def write(path, audio):
    """Writes a sound file, and its folder."""
    write_song_file(path, audio, sample_rate=RATE)
    return audio


MOISES = {  # stem -> (instrument, has_bleed) of each of its files
    "vocals": [("lead female singer", False), ("background vocals", True)],
    "drums": [("snare drum", True), ("kick drum", True)],
    "bass": [("bass guitar", False)],
    "guitar": [("clean electric guitar", False)],
    "bowed_strings": [("violin (solo)", False)],
}


def moisesdb(root, song_id="0a1b2c3d-0000-4000-8000-000000000001", stems=MOISES, channels=2):
    """One song of MoisesDB below ``root``; its files [C, T] by path."""
    folder, stems_data, files, seed = root / "moisesdb_v0.1" / song_id, [], {}, 0
    for stem, tracks in stems.items():
        data = {"id": f"stem-{stem}", "stemName": stem, "tracks": []}
        for instrument, bleed in tracks:
            seed += 1
            track_id = f"{seed:08x}-1111-4000-8000-000000000000"
            files[f"{stem}/{track_id}.wav"] = write(folder / stem / f"{track_id}.wav", sound(seed, channels=channels))
            data["tracks"].append({"id": track_id, "trackType": instrument, "extension": "wav", "has_bleed": bleed})
        stems_data.append(data)
    data = {"song": "A Song", "artist": "An Artist", "genre": "rock", "stems": stems_data}
    (folder / "data.json").write_text(json.dumps(data))
    return folder, files


SLAKH = {"S00": ("Guitar", False), "S01": ("Bass", False), "S02": ("Drums", True), "S03": ("Piano", False)}


def slakh(root, track="Track00001", split="train", seed=0):
    """One song of Slakh2100-redux below ``root``, mono FLAC, with a stem that was not rendered."""
    folder = root / split / track
    described = {
        stem: {"audio_rendered": True, "inst_class": name, "is_drum": drum, "midi_program_name": f"{name} 1", "program_num": 1}
        for stem, (name, drum) in SLAKH.items()
    }
    described["S04"] = {"audio_rendered": False, "inst_class": "Sound Effects", "is_drum": False, "midi_program_name": "Gunshot"}
    parts = [write(folder / "stems" / f"{stem}.flac", sound(seed + number, channels=1)) for number, stem in enumerate(SLAKH)]
    write(folder / "mix.flac", np.sum(parts, axis=0))
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"UUID": "1a81ae", "audio_dir": "stems", "stems": described}))
    return folder


MEDLEY = {"S01": "female singer", "S02": "drum set", "S03": "electric bass", "S04": "clean electric guitar", "S05": "auxiliary percussion"}


def medleydb(root, name="LizNelson_Rainfall", *, metadata=True, mix=True, bleed="no"):
    """One song of MedleyDB below ``root``: mix, stems, a raw track for each, metadata."""
    folder, described, parts = root / "Audio" / name, {}, []
    for number, (stem, instrument) in enumerate(MEDLEY.items(), 1):
        audio = write(folder / f"{name}_STEMS" / f"{name}_STEM_{number:02d}.wav", sound(number))
        write(folder / f"{name}_RAW" / f"{name}_RAW_{number:02d}_01.wav", audio[:1])
        parts.append(audio)
        raw = {"R01": {"filename": f"{name}_RAW_{number:02d}_01.wav", "instrument": instrument}}
        described[stem] = {"filename": f"{name}_STEM_{number:02d}.wav", "instrument": instrument, "component": "", "raw": raw}
    if mix:
        write(folder / f"{name}_MIX.wav", np.sum(parts, axis=0))
    if metadata:
        facts = {"artist": "Liz Nelson", "title": "Rainfall", "mix_filename": f"{name}_MIX.wav", "has_bleed": bleed, "genre": "Folk"}
        (folder / f"{name}_METADATA.yaml").write_text(yaml.safe_dump({**facts, "stems": described}))
    return folder


CAMBRIDGE = ("01_KickIn", "02_KickOut", "03_SnareUp", "04_SnareDown", "05_Overheads", "06_BassDI", "07_LeadVox", "08_BackingVox1")


def cambridge(root, name="TheBand_TheSong_Full"):
    """One raw multitrack as of the Cambridge library: numbered files, mono and stereo, of unequal lengths, without a mixture."""
    folder, parts = root / name, {}
    for number, stem in enumerate(CAMBRIDGE):
        channels = 2 if "Overheads" in stem else 1
        parts[stem] = write(folder / f"{stem}.wav", sound(number, FRAMES - 100 * number, channels=channels))
    return folder, parts
