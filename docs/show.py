"""Makes again what the pages show: the output of commands in ``docs/outputs`` and the pictures in ``docs/pictures``.

``python docs/show.py`` runs the demonstration, then each command below on its excerpt, in a temporary folder. Run it when the output of a
command has changed, look at the differences, and commit them. The excerpt is the multitrack that the package stempeg brings; only
measurements of it are stored.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import stemwright as sw

DOCS = Path(__file__).resolve().parent
MULTITRACKS = DOCS / "guides" / "multitracks.toml"
RAW = ("01_KickIn", "02_SnareTop", "03_SnareBottom", "04_OverheadL", "05_OverheadR", "06_BassDI", "07_LeadVox", "08_Accordion")
REMOVAL = DOCS / "guides" / "removal.toml"
RESTORE = DOCS / "guides" / "restore.toml"
COMMANDS = {  # output -> the command that a reader types
    "demo": "stemwright demo demo-corpus",
    "balance": "stemwright balance song.wav --model bundled --plot balance.png",
    "balance_stems": "stemwright balance song.wav --stems stems",
    "rules": "stemwright rules song.wav --stems stems --plot rules.png",
    "check": "stemwright check demo-corpus",
    "multitracks": "stemwright catalog raw raw-corpus --kind cambridge --config multitracks.toml --dry-run",
    "build": "stemwright build songs corpus --model bundled",
    "removal": "stemwright build songs removal-corpus --config removal.toml --model bundled",
    "restore": "stemwright build songs restore-corpus --config restore.toml --model bundled",
    "fit": "stemwright fit mix.wav --stems stems --chain eq,fader --save console.json --plot console.png",
    "apply": "stemwright apply console.json stems again.wav",
    "mix": "stemwright mix dry first_mix.wav --plot mix.png",
    "edit": 'stemwright edit song.wav "increase the volume of vocals by 3 dB; mute drums" edited.flac --stems stems',
    "undo": "stemwright undo clipped.wav restored.wav --plot undo.png",
    "export": "stemwright export demo-corpus recipes --no-audio",
    "report": "stemwright report demo-corpus report.html",
    "status": "stemwright status CORPUS",
}


def main() -> None:
    """Runs everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for toml in (REMOVAL, RESTORE, MULTITRACKS):
            (folder / toml.name).write_text(toml.read_text(encoding="utf-8"), encoding="utf-8")
        for output, command in COMMANDS.items():
            if output == "status":
                _separate_shares(folder)
            _keep(output, _run(folder, command))
            if output == "demo":
                _lay_out(folder)
        _keep("labels", _python(folder, DOCS / "guides" / "labels.py"))
        for picture in ("balance", "console", "mix", "rules", "undo"):
            (DOCS / "pictures" / f"{picture}.png").write_bytes((folder / f"{picture}.png").read_bytes())
        draw_estimates(folder, DOCS / "pictures" / "effects.png")
        draw_pair(folder / "removal-corpus", DOCS / "pictures" / "pair.jpg")
        draw_restoration(folder / "restore-corpus", DOCS / "pictures" / "restore.jpg")
        photograph(folder / "report.html", DOCS / "pictures" / "report.png")


def draw_estimates(folder: Path, picture: Path) -> None:
    """The blind estimates of a synthetic song, with compressed drums and brighter vocals, against a profile of twelve others."""
    sys.path.insert(0, str(DOCS.parent / "benchmarks"))
    from songs import render_song

    from stemwright.datagen.inverse.blind.profile import profile_of

    profile_of((render_song(9100 + number, 12.0) for number in range(12)), 44_100).save(folder / "profile.parquet")
    stems = render_song(9200, 20.0)
    compressor = {"threshold_db": -24.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 120.0}
    stems["drums"] = sw.apply_chain(stems["drums"], 44_100, [("compressor", compressor), ("fader", {"gain_db": 4.0})])
    stems["vocals"] = sw.apply_chain(stems["vocals"], 44_100, [("eq", {"high_shelf_gain_db": 6.0, "high_shelf_hz": 5000.0})])
    for name, audio in {**stems, "mixture": sum(stems.values())}.items():
        sw.save(folder / "heard" / f"{name}.wav", np.asarray(audio, np.float32), 44_100)
    _run(folder, f"stemwright estimate heard --profile profile.parquet --plot {picture}")


def _run(folder: Path, command: str) -> str:
    words = shlex.split(command)
    environment = {**os.environ, "MPLBACKEND": "Agg", "COLUMNS": "80", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return f"$ {command}\n{done.stdout}"


def _python(folder: Path, script: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    return subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def _keep(name: str, text: str) -> None:
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n").splitlines()]
    (DOCS / "outputs" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lay_out(folder: Path) -> None:
    """The excerpt as a person has a song: a mixture, a folder of stems, a folder of songs, and a mix whose console is known."""
    import torch

    stems: dict[str, Any] = {}
    for path in sorted((folder / "demo-corpus" / "stems").rglob("*.flac")):
        stems[path.stem], rate = sw.load(path)
    for place in ("stems", "songs", "raw/TheBand_TheSong_Full"):
        (folder / place).mkdir(parents=True)
    for name in RAW:
        sw.save(folder / "raw" / "TheBand_TheSong_Full" / f"{name}.wav", next(iter(stems.values()))[:1], rate)
    (folder / "dry").mkdir()
    for path in sorted((DOCS.parent / "datagen" / "excerpts").glob("*.ogg")):
        shutil.copy(path, folder / "dry")
    mixture = np.sum(list(stems.values()), axis=0)
    sw.save(folder / "song.wav", mixture, rate)
    sw.save(folder / "clipped.wav", (2.0 * mixture / np.abs(mixture).max()).clip(-1.0, 1.0), rate)
    sw.save(folder / "songs" / "The Easton Ellises - Falcon 69.wav", mixture, rate)
    chains: dict[str, list[Any]] = {"vocals": [("eq", {"high_shelf_gain_db": 4.0}), ("fader", {"gain_db": 2.0})]}
    chains |= {"drums": [("fader", {"gain_db": -3.0})], "other": [("fader", {"gain_db": -1.5, "pan": 0.3})]}
    mix = np.zeros_like(mixture)
    for name, stem in stems.items():
        if name != "residual":
            sw.save(folder / "stems" / f"{name}.wav", stem, rate)
            mix += sw.apply_chain(torch.from_numpy(stem), rate, chains.get(name, [])).numpy()
    sw.save(folder / "mix.wav", 0.7 * mix, rate)


def _separate_shares(folder: Path) -> None:
    """A corpus of eight songs of which one share has ended, and another is at work on a machine that does not exist."""
    for number in range(8):
        noise = 0.1 * np.random.default_rng(number).standard_normal((2, 4 * 44_100))
        sw.save(folder / "eight" / f"Song {number + 1}.wav", noise.astype(np.float32), 44_100)
    for command in ("catalog eight CORPUS", "separate CORPUS --model bundled --share 0/2"):
        _run(folder, f"stemwright {command}")
    work = {"verb": "separate", "done": 2, "total": 4, "subject": "Song 6.wav"}
    holder = {"owner": "another", "counter": 7, "host": "gpu2", "process": 4711, "machine": "another", "started": "", "work": work}
    (folder / "CORPUS" / "lease").mkdir(exist_ok=True)
    (folder / "CORPUS" / "lease" / "1of2").write_text(json.dumps(holder), encoding="utf-8")


def draw_pair(corpus: Path, path: Path) -> None:
    """Draws the spectrograms of a wet and its dry signal, with the effects that are between them."""
    from matplotlib import pyplot

    rows = sw.read_table(corpus / "dataset" / "pairs.parquet").set_index("id", drop=False)
    examples = sw.read_table(corpus / "dataset" / "examples.parquet")
    energies = {
        row.pair_id: sum(10.0 ** (change["change_db"] / 10.0) for change in row.changes)
        for row in examples.itertuples()
        if row.changes.size
    }
    drums = [pair for pair in energies if rows.loc[pair].sources[0]["stem"] == "drums"]  # onsets show best what an effect does
    row = rows.loc[max(drums or energies, key=energies.__getitem__)]
    files = sorted((corpus / "dataset").glob(f"*/removal/{row.id}/*.flac"))
    figure, axes = pyplot.subplots(1, 2, figsize=(9.0, 3.2), sharey=True, layout="constrained")
    chain = row.inputs[0]["branches"][0]["chain"]
    removed = " + ".join(use["effect"] for use in chain if use["role"] == "removed")
    for axis, name in zip(axes, ("input_wet", "target_dry"), strict=True):
        audio, rate = sw.load(next(file for file in files if file.stem == name))
        axis.specgram(audio.mean(axis=0) + 1e-9, NFFT=2048, noverlap=1536, Fs=rate, vmin=-140, vmax=-40, cmap="magma")
        axis.set(xlabel="time, s", ylim=(0, 12_000), title=f"{name}.flac" + (f"   with {removed}" if name == "input_wet" else ""))
    axes[0].set_ylabel("frequency, Hz")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 82})


def draw_restoration(corpus: Path, path: Path) -> None:
    """Draws the spectrograms of a degraded recording and of two of its dry stems, with the degradations of each."""
    from matplotlib import pyplot

    rows = sw.read_table(corpus / "dataset" / "pairs.parquet").set_index("id", drop=False)
    degradations = {row.id: [use["effect"] for use in row.inputs[0]["bus"] if use["role"] == "removed"] for row in rows.itertuples()}
    coded = {pair: len(names) for pair, names in degradations.items() if "codec" in names}  # of these a picture shows most
    row = rows.loc[max(coded or degradations, key=lambda pair: len(degradations[pair]))]
    stems = {branch["source_id"]: branch["chain"] for branch in row.inputs[0]["branches"]}
    titles = {"input_degraded": degradations[row.id]}
    for target in row.targets:
        if target["name"] in ("drums", "vocals"):
            chain = stems[target["branches"][0]["source_id"]]
            titles[f"target_{target['name']}"] = [f"without {use['effect']}" for use in chain if use["role"] == "removed"]
    files = {file.stem: file for file in (corpus / "dataset").glob(f"*/restore/{row.id}/*.flac")}
    figure, axes = pyplot.subplots(1, len(titles), figsize=(10.0, 3.2), sharey=True, layout="constrained")
    for axis, (name, effects) in zip(axes, titles.items(), strict=True):
        audio, rate = sw.load(files[name])
        axis.specgram(audio.mean(axis=0) + 1e-9, NFFT=2048, noverlap=1536, Fs=rate, vmin=-140, vmax=-40, cmap="magma")
        axis.set(xlabel="time, s", title=f"{name}.flac\n{', '.join(effects) or 'as it was'}")
    axes[0].set_ylabel("frequency, Hz")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 82})


def photograph(page: Path, path: Path) -> None:
    """Takes the top of a page of HTML as a picture, with the system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="light")
        view.goto(page.as_uri())
        view.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()
