"""The stems of one recording: written as files, or as arrays.

Conventions
    Stems are float32 [C, T], full scale 1.0, on the mixture's own scale. Files sum to the mixture with their residual, times one joint
    gain if a peak needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast, overload

from stemwright.datagen.public.sound_files import naming
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.function_separator import FunctionSeparator
from stemwright.separation.part_separator import DRUMS, PartSeparator
from stemwright.separation.separator import SeparationFunction, Separator, names_other

if TYPE_CHECKING:
    from stemwright.separation.stem_files import SeparatedFile

Model: TypeAlias = str | Separator | SeparationFunction
DEFAULT_MODEL = "htdemucs"


def check_one(stems: object, model: Model, drums_model: Model | None = None) -> None:
    """Raises UsageError where stems are given and a model besides, with which nothing would be separated."""
    if stems is not None and drums_model is not None:
        raise UsageError(
            f"expected stems or drums_model, got both: nothing is separated where stems are given ({stems}); leave out drums_model"
        )
    if stems is not None and model != DEFAULT_MODEL:
        raise UsageError(f"expected stems or a model, got both: nothing is separated where stems are given ({stems}); leave out model")


def separator_from(model: Model) -> Separator:
    """The separator of a model's name, or the one that was given; ``package.module:object`` and ``onnx:MODEL.onnx`` name others.

    Raises UsageError for a name that is nearly that of a known model, and for an object that is no separator.
    """
    if not isinstance(model, str):
        if hasattr(model, "separate_file"):
            return cast("Separator", model)
        if not callable(model) or not hasattr(model, "stem_names"):
            raise UsageError(
                f"expected a model's name, a DemucsSeparator, or a callable (mixture [C, T], sample_rate) -> {{stem name: [C, T]}} "
                f"with a tuple stem_names; got {model!r}"
            )
        kind = model if hasattr(model, "__qualname__") else type(model)
        return FunctionSeparator(model, f"{kind.__module__}:{kind.__qualname__}", str(getattr(model, "version", "without version")))
    if names_other(model):
        from stemwright.separation.choosing import other_separator

        return other_separator(model)
    from stemwright.separation.demucs.checkpoints import nearly_known

    if (meant := nearly_known(model)) is not None:
        raise UsageError(f"there is no model {model!r}; did you mean {meant!r}? `stemwright models` lists them")
    return DemucsSeparator(model)


def _check_free(folder: Path, separator: Separator, song: Path, *, force: bool) -> None:
    """Raises UsageError if a file in the way is the song itself, or without ``force`` if it is of no earlier separation.

    A separation leaves all of its files or none: where only some are there, they are of something else.
    """
    if not folder.is_dir():
        return
    names = [f"{name}.flac" for name in (*separator.stem_names, RESIDUAL)]
    found = [folder / name for name in names if (folder / name).exists()]
    for path in found:
        if song.exists() and path.samefile(song):
            raise UsageError(f"{path} is the recording to separate, and a stem would be written over it; name another folder than {folder}")
    if found and len(found) < len(names) and not force:
        raise UsageError(f"{found[0]} exists and is of no earlier separation, since others are missing; name another folder, or force=True")


@overload
def separate(
    path: Path | str, out_folder: None = None, model: Model = DEFAULT_MODEL, *, drums_model: Model | None = None, force: bool = False
) -> tuple[dict[str, Audio], int]: ...
@overload
def separate(
    path: Path | str, out_folder: Path | str, model: Model = DEFAULT_MODEL, *, drums_model: Model | None = None, force: bool = False
) -> SeparatedFile: ...
def separate(
    path: Path | str,
    out_folder: Path | str | None = None,
    model: Model = DEFAULT_MODEL,
    *,
    drums_model: Model | None = None,
    force: bool = False,
) -> tuple[dict[str, Audio], int] | SeparatedFile:
    """Separates a recording into stems: into files of ``out_folder``, or without one into memory.

    ``model`` is a name (``stemwright models`` lists them; weights are downloaded when they are first needed); a ``DemucsSeparator``,
    which keeps its networks between songs; ``"onnx:MODEL.onnx"`` or ``"package.module:object"``; or a callable (mixture [C, T],
    sample_rate) -> {stem name: [C, T]} that has a tuple ``stem_names``. With ``out_folder``: writes ``STEM.flac`` (24 bit) for every stem
    and the residual, all or none, and returns {stem name: path}, with ``gain_db``, the one gain in dB that all of them got (0.0 unless a
    peak needed less), and ``closure_db``, the energy of the residual against the mixture's in dB. Without: returns ({stem name: float32
    [C, T]}, sample rate in Hz), at the model's rate and without the residual. ``drums_model`` takes the
    stem ``drums`` further apart, into kick, snare and so on: its parts, which sum to the stem with a residual of their own, are files of
    ``out_folder/drums/`` and ``.parts`` of the result, or without a folder in the dict besides, as ``"drums/kick"``. The files of an
    earlier separation, stems and residual, are replaced; with ``force`` any of these names, but never ``path``. Raises ``Refused``
    (a ValueError) for a file that cannot be read or separated, ``ModelError`` where the weights cannot be had, UsageError for files in
    the way.

    >>> import numpy, stemwright as sw
    >>> audio = numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype("float32")
    >>> _ = sw.save("song.wav", audio, 44_100)
    >>> stems, sample_rate = sw.separate("song.wav", model="bundled")  # a small model that needs no download
    >>> sorted(stems), sample_rate
    (['bass', 'drums', 'other', 'vocals'], 44100)
    >>> def halves(drums, sample_rate):
    ...     return {"kick": drums / 2, "snare": drums / 2}
    >>> halves.stem_names = ("kick", "snare")  # in place of a model of drums
    >>> sorted(sw.separate("song.wav", "apart", model="bundled", drums_model=halves).parts)
    ['kick', 'residual', 'snare']
    >>> files = sw.separate("song.wav", "stems", model="bundled")
    >>> sorted(path.name for path in files.values())
    ['bass.flac', 'drums.flac', 'other.flac', 'residual.flac', 'vocals.flac']
    """
    separator, further = separator_from(model), None
    if drums_model is not None:
        further = PartSeparator(separator_from(drums_model))
        further.check_first(DRUMS, separator)
    with naming(path):
        if out_folder is not None:
            _check_free(Path(out_folder), separator, Path(path), force=force)
            if further is not None:
                _check_free(Path(out_folder) / DRUMS, further, Path(path), force=force)
            files = separator.separate_file(path, out_folder)
            if further is not None:
                files.parts = further.separate_file(files[DRUMS], Path(out_folder) / DRUMS)
            return files
        mixture, sample_rate = load_song(path)
        stems = separator.separate(mixture, sample_rate)
        rate = separator.sample_rate or sample_rate
        parts = {} if further is None else further.separate(stems[DRUMS], rate)
    return {**stems, **{f"{DRUMS}/{name}": audio for name, audio in parts.items()}}, rate
