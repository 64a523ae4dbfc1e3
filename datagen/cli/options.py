"""The arguments and options that several verbs share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwright.datagen.cli import completion

WHAT, SEPARATION, WORK, OUTPUT = "What is made", "Separation", "Where the work is done", "What is said"  # headings of options

SongsArgument = Annotated[
    Path, typer.Argument(metavar="SONGS", help="Folder of songs, CSV file, or MUSDB18 / MUSDB18-HQ folder.", show_default=False)
]
CorpusArgument = Annotated[Path, typer.Argument(metavar="CORPUS", help="Corpus folder.", show_default=False)]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="TOML file; it changes the keys that it names. All others stay as the corpus has them.",
        rich_help_panel=WHAT,
    ),
]
ResetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reset",
        metavar="KEY",
        help="Key or section of the configuration that gets its default again, e.g. separation.model.",
        autocompletion=completion.configuration_keys,
        rich_help_panel=WHAT,
    ),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="What SONGS is: auto, folder, csv, stems, multitracks, musdb18, musdb18hq.",
        autocompletion=completion.choices_of("songs.kind"),
        rich_help_panel=WHAT,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Form of the dataset: folder, webdataset, huggingface, musdb.",
        autocompletion=completion.choices_of("dataset.format"),
        rich_help_panel=WHAT,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Take no more than N songs, of various artists, for a first try; the same command without it goes on with all.",
        rich_help_panel=WHAT,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, how long it takes and how much disk, and write nothing.")
]
SeedOption = Annotated[int | None, typer.Option(metavar="NUMBER", help="What every random number follows from.", rich_help_panel=WHAT)]

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
    typer.Option(metavar="FOLDER", help="Folder with NAME.yaml and SIG.safetensors, instead of the hub.", rich_help_panel=SEPARATION),
]
StemsOption = Annotated[
    Path | None,
    typer.Option(
        "--stems", metavar="FOLDER", help="Folder with the stems (vocals.wav ...), instead of separating.", rich_help_panel=SEPARATION
    ),
]
OneModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="NAME", help="Model that separates.", autocompletion=completion.models, rich_help_panel=SEPARATION
    ),
]
OtherSeparatorOption = Annotated[
    str | None,
    typer.Option(
        "--separator",
        metavar="NAME",
        help="Another separator than Demucs: package.module:object, or onnx:MODEL.onnx.",
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
        metavar="DEVICE",
        help="Where the networks run: auto, cpu, cuda, cuda:1, mps.",
        autocompletion=completion.devices,
        rich_help_panel=SEPARATION,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs them: auto, torch, openvino.",
        autocompletion=completion.choices_of("separation.engine"),
        rich_help_panel=SEPARATION,
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="auto, fp32 (exact), or bf16.",
        autocompletion=completion.choices_of("separation.precision"),
        rich_help_panel=SEPARATION,
    ),
]
InputLufsOption = Annotated[
    float | None,
    typer.Option(metavar="LUFS", help="Bring each mixture to this loudness first, and scale its stems back.", rich_help_panel=SEPARATION),
]
AgainOption = Annotated[
    bool,
    typer.Option("--again", help="Separate again what has stems, if the settings ask for others.", rich_help_panel=SEPARATION),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never ask the network for weights.", rich_help_panel=SEPARATION)]
TrustPickleOption = Annotated[
    bool,
    typer.Option("--trust-pickle", help="Also load weights pickled as .th, which runs their code.", rich_help_panel=SEPARATION),
]

JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        help="Processes at the same time. Separation uses all cores, or the GPU, by itself.",
        rich_help_panel=WORK,
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="ADDRESS", help="Work on the dask cluster of this scheduler, e.g. tcp://10.0.0.1:8786.", rich_help_panel=WORK
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.", rich_help_panel=OUTPUT)]


def absolute(path: Path | None) -> Path | None:
    """A path that stays right when the command is run from another folder."""
    return None if path is None else path.expanduser().resolve()


def absolute_separator(reference: str | None) -> str | None:
    """What names a separator, with the path of an ONNX model that stays right when the command is run from another folder."""
    from stemwright.datagen.run.config import placed_reference

    return None if reference is None else placed_reference(reference, Path.cwd())
