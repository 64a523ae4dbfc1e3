"""The arguments and options that several verbs share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwright.datagen.cli import completion

SongsArgument = Annotated[Path, typer.Argument(help="Folder of songs, a CSV file, or a MUSDB18 / MUSDB18-HQ folder.", show_default=False)]
CorpusArgument = Annotated[Path, typer.Argument(help="Corpus folder.", show_default=False)]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; it changes the keys that it names. All others stay as the corpus has them."),
]
ResetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reset",
        metavar="KEY",
        help="Key or section of the configuration that gets its default again, e.g. separation.model.",
        autocompletion=completion.configuration_keys,
    ),
]
AgainOption = Annotated[bool, typer.Option("--again", help="Separate again what has stems, if the settings ask for others.")]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes that work at the same time; separation uses all cores, or the GPU, by itself.")
]
DaskOption = Annotated[str | None, typer.Option("--dask", help="Address of a dask scheduler to work on instead, e.g. tcp://10.0.0.1:8786.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
KindOption = Annotated[
    str | None,
    typer.Option(
        help="What SONGS is: auto, folder, csv, stems, multitracks, musdb18, musdb18hq.", autocompletion=completion.choices_of("songs.kind")
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Demucs model: htdemucs, htdemucs_ft, bundled, hf://OWNER/NAME, ...", autocompletion=completion.models
    ),
]
ModelFolderOption = Annotated[Path | None, typer.Option(help="Folder with NAME.yaml and SIG.safetensors, instead of the hub.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where the networks run: auto, cpu, cuda, cuda:1, mps.", autocompletion=completion.devices)
]
EngineOption = Annotated[
    str | None, typer.Option(help="What runs them: auto, torch, openvino.", autocompletion=completion.choices_of("separation.engine"))
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto, fp32 (exact), or bf16.", autocompletion=completion.choices_of("separation.precision"))
]
InputLufsOption = Annotated[float | None, typer.Option(help="Give the networks each mixture at this loudness, and scale the stems back.")]
SeparatorOption = Annotated[
    str | None,
    typer.Option(
        help="auto (a multitrack's own stems, else Demucs), demucs, or reference.",
        autocompletion=completion.choices_of("separation.separator"),
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never ask the network for weights.")]
TrustPickleOption = Annotated[bool, typer.Option("--trust-pickle", help="Also load weights pickled as .th, which runs their code.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Form of the dataset: folder, webdataset, huggingface, musdb.",
        autocompletion=completion.choices_of("dataset.format"),
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Take no more than N songs, of various artists, for a first try; the same command without it goes on with all.",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of everything that is drawn.")]


def absolute(path: Path | None) -> Path | None:
    """A path that stays right when the command is run from another folder."""
    return None if path is None else path.expanduser().resolve()
