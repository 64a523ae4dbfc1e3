"""Training, export and scores of the model ``bundled``: a small HTDemucs trained on the music of `bundled_pool.py`.

    python benchmarks/train_bundled.py pool WORK [--music FOLDER]    makes the music to train on in WORK (some minutes, several GB)
    python benchmarks/train_bundled.py train WORK --minutes 90       trains in WORK, goes on from the last checkpoint if there is one;
                                                                     --tune begins at the weights that the package has
    python benchmarks/train_bundled.py export WORK                   writes separation/demucs/models/bundled.yaml and SIG.safetensors;
                                                                     --blend NAME:SHARE ... averages weights of several checkpoints
    python benchmarks/train_bundled.py score [WORK] [--music FOLDER] prints the scores of the exported model, or of --weights FILE

Conventions
    Sources in the order drums, bass, other, vocals; stereo, 44.1 kHz.
    SI-SDR is taken over both channels of a stem together, without its mean; the improvement is against the mixture in place of the stem.
    The learning rate follows the clock, not the step, so a run on a shared machine ends when it should.
    Training draws at random from the seed given, but how many steps fit into the time depends on the machine.

References
    Rouard, Massa, Defossez, Hybrid Transformers for Music Source Separation, 2023: the architecture, whose code Demucs provides.
    Le Roux, Wisdom, Erdogan, Hershey, SDR: half-baked or well done?, 2019: SI-SDR.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from bundled_pool import HELD_OUT, SCALE, free_music, made_songs, remixes, write
from free_excerpts import middle, songs_with
from musical_songs import render_musical_song
from songs import STEMS, render_song

from stemwright.datagen.evaluate.scores import si_sdr_db

SAMPLE_RATE = 44_100
MODELS = Path(__file__).resolve().parent.parent / "separation" / "demucs" / "models"
TRAIN_SEEDS, HELD_OUT_SEEDS, OTHER_SEEDS = range(1000, 1440), range(9000, 9016), range(9100, 9106)
MADE_S = 10.0
SCORED = ("held-out", "excerpt", "free", "made", "speed")
MAX_BYTES = 8_000_000
SETTINGS = {
    "sources": list(STEMS),
    "channels": 24,
    "dconv_depth": 1,
    "dconv_comp": 1.5,  # 16 hidden channels run faster than 6 in bfloat16
    "dconv_init": 0.1,  # a short training cannot wait for branches that start at a thousandth
    "t_layers": 0,
    "segment": Fraction(39, 5),
}


# ---------------------------------------------------------------- scores


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of two signals [C, T], over all channels together."""
    return si_sdr_db(estimate.reshape(1, -1), reference.reshape(1, -1))


def separate(model: torch.nn.Module, mixture: np.ndarray) -> np.ndarray:
    """Stems [4, 2, T] of a mixture [2, T], as the demucs command does it without shifts."""
    from demucs.apply import apply_model

    mix = torch.from_numpy(np.ascontiguousarray(mixture))
    reference = mix.mean(0)
    mean, deviation = reference.mean(), reference.std() + 1e-8
    with torch.no_grad():
        stems = apply_model(model, ((mix - mean) / deviation)[None], shifts=0, split=True, overlap=0.25)[0]
    return (stems * deviation + mean).numpy()


def improvements(model: torch.nn.Module, references: np.ndarray) -> np.ndarray:
    """SI-SDR improvement in dB of each stem [4], NaN where a reference stem is silent."""
    mixture = references.sum(axis=0)
    stems = separate(model, mixture)
    silent = np.sqrt((references**2).mean(axis=(1, 2))) < 1e-4
    gains = [si_sdr(s, r) - si_sdr(mixture, r) for s, r in zip(stems, references, strict=True)]
    return np.where(silent, np.nan, gains)


def held_out(folder: Path | None, duration_s: float = 12.0) -> list[np.ndarray]:
    """Songs of seeds that training never sees: float32 [4, 2, T] each, from a pool folder or rendered now."""
    if folder is not None and folder.exists():
        return [np.load(path).astype(np.float32) / SCALE for path in sorted(folder.glob("*.npy"))]
    songs = []
    for seed in HELD_OUT_SEEDS:
        stems = render_song(seed, duration_s, SAMPLE_RATE, timbre="synth" if seed % 4 == 0 else "soundfont")
        songs.append(np.stack([stems[stem] for stem in STEMS]))
    return songs


def free_pieces(music: Path, collection: str, duration_s: int = 10) -> list[np.ndarray]:
    """The middle of songs of free music that are in no pool, silence for what they do not have: float32 [4, 2, T] each."""
    pieces = []
    for place in songs_with(music, collection):
        if collection != "scores" or place.name in HELD_OUT:
            parts, _ = middle(place, duration_s)
            pieces.append(np.stack([*parts.values(), np.zeros_like(parts["drums"])]))
    return pieces


def made_pieces(render: Callable[..., Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    """Songs of our synthesisers, of seeds that no pool has: float32 [4, 2, T] each."""
    songs = [render(seed, MADE_S, SAMPLE_RATE) for seed in OTHER_SEEDS]
    return [np.stack([stems[stem] for stem in STEMS]) for stems in songs]


def real_excerpt() -> np.ndarray:
    """The multitrack excerpt that the ``stempeg`` package ships: float32 [4, 2, T] in the order of ``STEMS``. Only ever scored."""
    import av
    import stempeg

    path = next((Path(stempeg.__file__).parent / "data").glob("*.stem.mp4"))
    stems = []
    for index in range(1, 5):
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE)
            frames = [r.to_ndarray() for f in container.decode(audio=index) for r in resampler.resample(f)]
        stems.append(np.concatenate(frames, axis=1))
    length = min(stem.shape[1] for stem in stems)
    return np.stack([stem[:, :length] for stem in stems]).astype(np.float32)


# ---------------------------------------------------------------- training


def new_model(**changes: object) -> torch.nn.Module:
    """A model with random weights and the settings of the bundled one."""
    from demucs.htdemucs import HTDemucs

    return HTDemucs(**{**SETTINGS, **changes})


def _follow(average: torch.nn.Module, model: torch.nn.Module, step: int) -> None:
    decay = min(0.995, (1 + step) / (20 + step))
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


def _loss(estimates: torch.Tensor, stems: torch.Tensor, summed: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the samples, plus a quarter of the same on a short-time spectrum.

    Of a remix that is ``summed`` [B] only the sum of drums, bass and other is known, which is its first stem.
    """
    together = torch.cat([estimates[:, :3].sum(1, keepdim=True), torch.zeros_like(estimates[:, :2]), estimates[:, 3:]], 1)
    estimates = torch.where(summed[:, None, None, None], together, estimates)
    loss = (estimates - stems).abs().mean()
    window = torch.hann_window(1024)
    difference = torch.stft((estimates - stems).flatten(0, 2), 1024, 512, window=window, return_complex=True, normalized=True)
    return loss + 0.25 * torch.view_as_real(difference).abs().mean()


def _share_gradients(model: torch.nn.Module) -> None:
    """Replaces the gradients by their mean over all workers, in one exchange."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def train(work: Path, args: argparse.Namespace) -> None:
    """Trains until the time is over in processes of one thread each.

    On a machine that other work keeps busy this is far faster than threads, which wait for the slowest at every operation: threads took
    5.9 to 10.6 s of processor time a step where a single one took 2.2 s.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_train_worker, (work, args, f"file://{folder}/meeting", time.time()), args.workers)


def _train_worker(rank: int, work: Path, args: argparse.Namespace, meeting: str, begun: float) -> None:
    """One worker; the first keeps the average, scores it, prints, and writes a checkpoint to WORK/NAME.pt every few minutes."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=args.workers)
    model = (load_exported() if args.tune else new_model(**json.loads(args.changes))).train()
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    path, step = work / f"{args.name}.pt", 0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        model.load_state_dict(kept["model"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        step, begun = kept["step"], kept["begun"]
    batches = remixes(
        work / "pool",
        round(args.segment_s * SAMPLE_RATE),
        args.batch,
        np.random.default_rng([args.seed, step, rank]),
        together=args.together,
    )
    listening = [song[:, :, : 7 * SAMPLE_RATE] for song in held_out(work / "held")[:5]]
    saved, losses, over = time.time(), [], False
    while not over:
        progress = (time.time() - begun) / (60 * args.minutes)
        rate = args.lr * min(1.0, (step + 1) / 60) * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, progress))))
        for group in optimizer.param_groups:
            group["lr"] = rate
        stems, summed = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.fp32):
            estimates = model(stems.sum(1))
        loss = _loss(estimates.float(), stems, summed)
        optimizer.zero_grad()
        loss.backward()
        _share_gradients(model)
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)):
            optimizer.step()
            _follow(average, model, step)
        losses.append(loss.item())
        step += 1
        ends = torch.tensor(float(progress >= 1))
        torch.distributed.broadcast(ends, 0)
        over = bool(ends)
        if rank == 0 and (time.time() - saved > 150 or over):
            _save(path, model, average, optimizer, step, begun)
            saved = time.time()
        if rank == 0 and step % args.every == 0:
            _report(average, listening, f"{step:6d} {(time.time() - begun) / 60:6.1f} min  loss {np.mean(losses):.4f}  lr {rate:.1e}")
            losses = []


def _report(average: torch.nn.Module, songs: list[np.ndarray], head: str) -> None:
    average.segment = SETTINGS["segment"]
    with torch.autocast("cpu", torch.bfloat16):
        gains = np.nanmean([improvements(average, song) for song in songs], axis=0)
    print(f"{head}  SI-SDRi {' '.join(f'{gain:6.2f}' for gain in gains)}  mean {gains.mean():.2f}", flush=True)


def _save(path: Path, model: torch.nn.Module, average: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, begun: float) -> None:
    kept = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "begun": begun}
    torch.save(kept, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


# ---------------------------------------------------------------- export


def _jsonable(value: object) -> object:
    """Demucs's own JSON encoding of init arguments."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    return value


def blended(work: Path, shares: list[str]) -> dict[str, torch.Tensor]:
    """Weights averaged over checkpoints given as NAME:SHARE; what the shares leave of 1 is of the exported weights."""
    parts = [
        (torch.load(work / f"{name}.pt", weights_only=True)["average"], float(share)) for name, share in (s.split(":") for s in shares)
    ]
    parts.append((load_exported().state_dict(), 1.0 - sum(share for _, share in parts)))
    return {key: torch.stack([share * state[key].float() for state, share in parts]).sum(0) for key in parts[0][0]}


def export(work: Path, shares: list[str]) -> Path:
    """Writes the averaged weights in half precision in the hub's layout and returns the path of the weights.

    Raises ValueError if the file would be larger than the box allows.
    """
    from safetensors.torch import save

    state = {key: value.half().contiguous() for key, value in blended(work, shares).items()}
    kwargs = {key: _jsonable(value) for key, value in SETTINGS.items()}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(kwargs)}
    data = save(state, metadata)
    if len(data) > MAX_BYTES:
        raise ValueError(f"the model takes {len(data)} bytes; at most {MAX_BYTES} fit into the box. Use fewer channels.")
    signature = hashlib.sha256(data).hexdigest()[:8]
    for old in MODELS.glob("*.safetensors"):
        old.unlink()
    path = MODELS / f"{signature}.safetensors"
    path.write_bytes(data)
    (MODELS / "bundled.yaml").write_text(f"models: ['{signature}']\nsegment: {float(SETTINGS['segment'])}\n")
    (MODELS / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    print(f"{path}: {len(data)} bytes")
    return path


def load_exported(weights: Path | None = None) -> torch.nn.Module:
    """The exported model, or other weights in its form, through Demucs's own loader."""
    from demucs.hf import load_safetensors_model

    return load_safetensors_model(weights or next(MODELS.glob("*.safetensors"))).float().eval()


def score(work: Path | None, music: Path | None, weights: Path | None, parts: Collection[str]) -> str:
    """Markdown table of SI-SDR improvements on songs made here, on the real excerpt and on free music, and the speed, all on one thread.

    ``parts`` are some of SCORED.
    """
    torch.set_num_threads(1)
    model = load_exported(weights)
    rows = ["| songs | drums | bass | other | vocals |", "|---|---|---|---|---|"]

    def add(label: str, gains: np.ndarray, statistic: Callable[[np.ndarray], float] = np.nanmean) -> None:
        cells = ["" if np.isnan(column).all() else f"{statistic(column):.2f}" for column in gains.T]
        rows.append(f"| {label} | {' | '.join(cells)} |")

    if "held-out" in parts:
        gains = np.array([improvements(model, song) for song in held_out(work / "held" if work else None)])
        add(f"held out, all ({len(gains)}), mean", gains)
        add(f"held out, synthesisers only ({len(gains[::4])}), mean", gains[::4])
        add(f"held out, all ({len(gains)}), median", gains, np.nanmedian)
    if "excerpt" in parts:
        add("real excerpt", improvements(model, real_excerpt())[None])
    for label, collection in (("tracker modules", "modules"), ("free scores", "scores")) if music and "free" in parts else ():
        free = np.array([improvements(model, piece)[:3] for piece in free_pieces(music, collection)])
        add(f"{label} ({len(free)}), mean", np.pad(free, ((0, 0), (0, 1)), constant_values=np.nan))
    for label, render in (("synthetic songs", render_song), ("musical songs", render_musical_song)) if "made" in parts else ():
        made = np.array([improvements(model, piece) for piece in made_pieces(render)])
        add(f"{label} ({len(made)}), mean", made)
    return "\n".join([*rows, *(speeds(model, real_excerpt()) if "speed" in parts else ())])


def speeds(model: torch.nn.Module, references: np.ndarray) -> list[str]:
    """How fast the model separates 24 s made of one excerpt, in each precision."""
    excerpt = references.sum(axis=0)
    mixture = np.tile(excerpt, -(-24 * SAMPLE_RATE // excerpt.shape[1]))[:, : 24 * SAMPLE_RATE]
    lines = []
    for precision in (torch.float32, torch.bfloat16):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            separate(model, mixture)
        times = mixture.shape[1] / SAMPLE_RATE / (time.process_time() - start)
        lines.append(f"\nWith `demucs.apply` in {precision}: {times:.1f} times real time on one core (by processor time).")
    return lines


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["pool", "train", "export", "score"])
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--name", default="bundled")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--batch", type=int, default=1, help="for each worker")
    parser.add_argument("--segment-s", type=float, default=2.5)
    parser.add_argument("--together", type=float, default=0.3, help="share of remixes whose stems come from one song")
    parser.add_argument("--every", type=int, default=100, help="steps between scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tune", action="store_true", help="begin at the exported weights")
    parser.add_argument(
        "--blend", nargs="+", metavar="NAME:SHARE", help="checkpoints to export the average of; the rest is the exported weights"
    )
    parser.add_argument("--music", type=Path, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--weights", type=Path, help="a .safetensors to score in place of the exported one")
    parser.add_argument("--only", nargs="+", choices=SCORED, default=SCORED, help="of what is scored, some")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--changes", default="{}", help="JSON of settings to try in place of the chosen ones")
    args = parser.parse_args()
    if args.work is None and args.verb != "score":
        parser.error(f"{args.verb} needs a WORK folder")
    if args.verb == "pool":
        for seed, song in zip(HELD_OUT_SEEDS, held_out(None), strict=True):
            write(args.work / "held" / f"{seed}.npy", song)
        made_songs(args.work / "pool" / "made", TRAIN_SEEDS, 15.0)
        if args.music:
            free_music(args.music, args.work / "pool")
    elif args.verb == "train":
        train(args.work, args)
    elif args.verb == "export":
        export(args.work, args.blend or [f"{args.name}:1"])
    else:
        print(score(args.work, args.music, args.weights, args.only))


if __name__ == "__main__":
    main()
