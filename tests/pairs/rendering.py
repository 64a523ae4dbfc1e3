"""Pairs, signals and sources that the tests of rendering, writing and reporting share."""

import numpy as np
from rows import corpus_rows

from stemwright.datagen.pairs.render import Sources
from stemwright.manifests.records import AudioFile, Branch, Pair, Signal, seal
from stemwright.manifests.sound.writing import save

RATE = 44_100


def pair(inputs, targets, *, start_frame=1_000, num_frames=20_000, sample_rate=RATE, kind="mix", split="train"):
    return seal(
        Pair,
        kind=kind,
        number=0,
        track_id="0" * 16,
        split=split,
        start_frame=start_frame,
        num_frames=num_frames,
        sample_rate=sample_rate,
        inputs=tuple(inputs),
        targets=tuple(targets),
        seed=0,
    )


def signal(name, *sources, chain=(), bus=()):
    return Signal(name=name, branches=tuple(Branch(source_id=source, chain=chain) for source in sources), bus=bus)


def saved_sources(folder, song):
    """A song's stems and mixture as files, to be read by ids, and the ids by name."""
    files = {}
    for number, (name, audio) in enumerate(song.items()):
        sha256 = save(folder / f"{name}.flac", audio, RATE)
        files[f"{number:016x}"] = AudioFile(
            path=f"{name}.flac",
            sample_rate=RATE,
            num_channels=2,
            num_frames=audio.shape[1],
            num_bytes=(folder / f"{name}.flac").stat().st_size,
            sha256=sha256,
        )
    return Sources(folder, files), {file.path.removesuffix(".flac"): key for key, file in files.items()}


def reader_of(song):
    """Reads excerpts of a song's stems by the ids that ``corpus_rows(1)`` gives them; beyond the end it begins again."""
    names = {stem.id: stem.name for stem in corpus_rows(1)[1]}

    def reader(source_id, start_frame, num_frames, sample_rate):
        audio = song.get(names[source_id], np.zeros_like(song["mixture"]))  # the residual is silent
        return np.ascontiguousarray(np.take(audio, np.arange(start_frame, start_frame + num_frames) % audio.shape[1], axis=1))

    return reader
