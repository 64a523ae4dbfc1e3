"""The arguments and options that several verbs share, so that each has the same name, meaning and help everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stemwright.datagen.cli import completion

WHAT, SEPARATION, WORK, OUTPUT = "Corpus", "Separation", "Resources", "Output"  # headings of options
KINDS = "{kinds}"  # in a help: the kinds of songs, those of other packages too, which are not looked for before a help is shown


def completed_help(text: str) -> str:
    """The help of an option with the names that are only known when it is shown."""
    if KINDS not in text:
        return text
    from stemwright.manifests.catalog.listing import kinds

    return text.replace(KINDS, ", ".join(kinds()))


def whole_number(low: int | None = None) -> Callable[[Any], int]:
    """What reads an option that is a whole number, from the lowest one on; the message for any other is the same with every typer."""
    expected = "a whole number" if low is None else f"a whole number, {low} or more"

    def number(text: Any) -> int:
        try:
            value = int(text)
        except ValueError:
            raise typer.BadParameter(f"expected {expected}; got {text!r}") from None
        if low is not None and value < low:
            raise typer.BadParameter(f"expected {expected}; got {value}")
        return value

    return number


def decimal_number(text: Any) -> float:
    """Reads an option that is a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, such as -14; got {text!r}") from None


def resources(text: Any) -> dict[str, float]:
    """Reads an option such as GPU=1 or GPU=1,MEMORY=2e9: dask's names of resources, and how much of each."""
    found: dict[str, float] = {}
    for part in str(text).replace(",", " ").split():
        name, _, number = part.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = 0.0
        if not name or not 0.0 < found[name] < math.inf:
            raise typer.BadParameter(f"expected NAME=NUMBER, such as GPU=1; got {part!r}")
    return found


SongsArgument = Annotated[
    Path, typer.Argument(metavar="SONGS", help="Folder of songs, CSV file, MUSDB18 (-HQ) folder, or s3://BUCKET/SONGS.", show_default=False)
]
CorpusArgument = Annotated[Path, typer.Argument(metavar="CORPUS", help="Corpus folder.", show_default=False)]
EstimatedArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS|SONG",
        help="Corpus folder; with --profile, a recording, or a folder with mixture.wav and stems.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="TOML file. It changes the keys that it sets; the corpus keeps its values of all others.",
        rich_help_panel=WHAT,
    ),
]
ResetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reset",
        metavar="KEY",
        help="Reset a key or section of the configuration to its default, e.g. separation.model.",
        autocompletion=completion.configuration_keys,
        rich_help_panel=WHAT,
    ),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help=f"What SONGS is: {KINDS}.",
        autocompletion=completion.choices_of("songs.kind"),
        rich_help_panel=WHAT,
    ),
]
MixtureOption = Annotated[
    str | None,
    typer.Option(
        "--mixture",
        metavar="NAME",
        help="Mixture of a multitrack without a file of it: file (the song is rejected), or sum (of its stems).",
        autocompletion=completion.choices_of("songs.mixture"),
        rich_help_panel=WHAT,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Format of the dataset: folder, webdataset, huggingface, musdb.",
        autocompletion=completion.choices_of("dataset.format"),
        rich_help_panel=WHAT,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(1),
        metavar="N",
        help="Take at most N songs (1 or more), of various artists, for a first try. The same command without it continues with all songs.",
        rich_help_panel=WHAT,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, the time and the disk space it needs; write nothing.")
]
CatalogDryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the songs, and which stem each file of a multitrack is a part of; write nothing.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        parser=whole_number(0),
        metavar="NUMBER",
        help="Seed of every random number: a whole number, 0 or more; 0 in a new corpus.",
        rich_help_panel=WHAT,
    ),
]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Demucs model: htdemucs, htdemucs_ft, bundled, hf://OWNER/NAME, ...",
        autocompletion=completion.models,
        rich_help_panel=SEPARATION,
    ),
]
ModelFolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Local folder with NAME.yaml and SIG.safetensors; replaces the download from the hub.",
        rich_help_panel=SEPARATION,
    ),
]
StemsOption = Annotated[
    Path | None,
    typer.Option(
        "--stems", metavar="FOLDER", help="Folder with the stems (vocals.wav ...), instead of separating.", rich_help_panel=SEPARATION
    ),
]
SongStemsOption = Annotated[
    str | None,
    typer.Option(
        "--stems",
        metavar="FOLDER",
        help="Folder with the stems (vocals.wav ...), instead of separating; of several songs with {song} or {folder} in it.",
        rich_help_panel=SEPARATION,
    ),
]
StemsOfOption = Annotated[
    str | None,
    typer.Option(
        "--stems-of", metavar="NAME", help="What separator made --stems: the name of its calibration.", rich_help_panel=SEPARATION
    ),
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="ID|FILE",
        help="Calibration for levels: its id, its file, or none. It is copied into the corpus; without one, ranges are generic.",
        rich_help_panel=WHAT,
    ),
]
SongCalibrationOption = Annotated[
    str,
    typer.Option(
        "--calibration",
        metavar="ID|FILE",
        help="Calibration for levels: its id, its file, none, or auto: your own to this separator, if there is one.",
        rich_help_panel=SEPARATION,
    ),
]
OneModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Separation model; htdemucs if none is named.",
        show_default=False,
        autocompletion=completion.models,
        rich_help_panel=SEPARATION,
    ),
]
OtherSeparatorOption = Annotated[
    str | None,
    typer.Option(
        "--separator",
        metavar="NAME",
        help="A separator other than Demucs: package.module:object, or onnx:MODEL.onnx.",
        rich_help_panel=SEPARATION,
    ),
]
SeparatorOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="auto (a multitrack's own stems, else Demucs), demucs, reference; or package.module:object, onnx:MODEL.onnx.",
        autocompletion=completion.choices_of("separation.separator"),
        rich_help_panel=SEPARATION,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Device that the networks run on: auto, cpu, cuda, cuda:1, mps.",
        autocompletion=completion.devices,
        rich_help_panel=SEPARATION,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Inference engine: auto, torch, openvino.",
        autocompletion=completion.choices_of("separation.engine"),
        rich_help_panel=SEPARATION,
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Arithmetic of the networks: auto, fp32 (exact), or bf16.",
        autocompletion=completion.choices_of("separation.precision"),
        rich_help_panel=SEPARATION,
    ),
]
InputLufsOption = Annotated[
    float | None,
    typer.Option(
        parser=decimal_number,
        metavar="LUFS",
        help="Bring each mixture to this integrated loudness, from -70 to 0 LUFS, before separation, and scale its stems back after "
        "it; by default mixtures stay as they are.",
        rich_help_panel=SEPARATION,
    ),
]
AgainOption = Annotated[
    bool,
    typer.Option(
        "--again", help="Allow songs that have stems to be separated again when the settings have changed.", rich_help_panel=SEPARATION
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never download weights.", rich_help_panel=SEPARATION)]
TrustPickleOption = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="Also load pickled weights (.th). Loading them can run code from the file.", rich_help_panel=SEPARATION
    ),
]

JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        parser=whole_number(1),
        help="Number of parallel processes, 1 or more. Separation always uses all cores or the GPU.",
        rich_help_panel=WORK,
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="ADDRESS", help="Run on the dask cluster with this scheduler, e.g. tcp://10.0.0.1:8786.", rich_help_panel=WORK
    ),
]

ResourcesOption = Annotated[
    dict[str, float] | None,
    typer.Option(
        "--resources",
        metavar="NAME=N",
        parser=resources,
        help="With --dask: use only workers with these resources, e.g. GPU=1; several are separated by commas. build: for separation only.",
        rich_help_panel=WORK,
    ),
]
ShareOption = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="K/N",
        help="Do share K of N, K from 0. Start all N, on any machines that see CORPUS; then the same command without --share merges them.",
        rich_help_panel=WORK,
    ),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        metavar="LIST",
        help="Start a share on each of these GPUs of this machine, then merge them: all, or numbers such as 0,2.",
        rich_help_panel=WORK,
    ),
]

BLIND = "Effects of a recording"
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="CORPUS",
        help="Estimate the effects of a recording against this corpus's profile (or a profile.parquet).",
        rich_help_panel=BLIND,
    ),
]
EstimatesCsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Also write the estimates to this CSV file.", rich_help_panel=BLIND)
]
EstimatesPlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Plot the estimates with their intervals to this file (.png, .svg, .pdf or .jpg).",
        rich_help_panel=BLIND,
    ),
]
WRITTEN = ".wav (float), .flac (24 bit), .mp3, .m4a, .opus or .ogg"  # ``song_writing.SONG_SUFFIXES``, as a help says it
BitsOption = Annotated[
    int | None,
    typer.Option(
        "--bits",
        metavar="16|24|32",
        parser=whole_number(1),
        help="Bits of a sample in WAV and FLAC: 16 (dithered), 24, or 32 (float, WAV only).",
        rich_help_panel=OUTPUT,
    ),
]
BitRateOption = Annotated[
    float | None,
    typer.Option(
        "--bit-rate",
        metavar="KBPS",
        parser=decimal_number,
        help="Bit rate of lossy formats in kbit/s; by default 320 for MP3, 256 for AAC and Vorbis, 192 for Opus.",
        rich_help_panel=OUTPUT,
    ),
]
KeepLevelOption = Annotated[
    str | None,
    typer.Option(
        "--keep-level",
        metavar="limit|refuse",
        help="Where OUT cannot hold a peak: limit the peaks, or refuse to write. By default all is lowered by one gain. Float WAV holds "
        "every peak.",
        autocompletion=completion.one_of("limit", "refuse"),
        rich_help_panel=OUTPUT,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.", rich_help_panel=OUTPUT)]


def absolute(path: Path | None) -> Path | None:
    """A path that stays valid when a later command is run from another folder."""
    return None if path is None else path.expanduser().resolve()
