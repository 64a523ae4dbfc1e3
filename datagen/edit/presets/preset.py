"""A preset: the chain of each stem, and that of their sum, as a JSON file.

    {"kind": "console", "sample_rate": 44100, "stems": {"vocals": [{"effect": "fader", "settings": {...}}]}, "bus": [...], "lags": {...},
     "send": {"effect": "room", "settings": {...}, "gains_db": {"vocals": -12.0}, "feed": "each", "response": ".room.wav"}}

Conventions
    Settings are those of ``stemwright effects``; the file of another version is read as long as its effects take them, and with a byte
    order mark, which editors of Windows write. ``lags`` are the frames by which a stem is later in the mix. ``channels`` is how many the
    mix has at least: 2 where mono stems make a stereo mix.
    ``sha256`` is that of the mixture that the settings were found from, if they were.
    ``send`` is a room that stems are sent to after their chains, with a gain each in dB. Its ``response`` is the ending of the sound file
    beside the preset that holds it, otherwise named like the preset; without it the room's noise is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stemwright.datagen.effects import apply_chain, resolve_chain
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.manifests import __version__
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.inverse.console.shared_room import SharedRoom
    from stemwright.manifests.pair_records import Signal

KIND = "console"
RESPONSE = ".room.wav"
LONGEST_PRESET = 1 << 26  # bytes: more is another program's
HIGHEST_SEND_DB = 100.0  # of a file: more is a slip, and soon no number
MOST_CHANNELS = 2
SHARED_ROOM = "shared room"  # its place among the stems of a mix
Use = tuple[str, EffectSettings]


@dataclass(frozen=True)
class PresetText:
    """A file's text, and what of the preset is not in it."""

    text: str
    left_out: tuple[str, ...] = ()
    response: bool = False  # whether the response of the shared room belongs beside it


@dataclass(frozen=True)
class Preset:
    """The chain of each stem and of the bus, first to last, at a sample rate in Hz."""

    stems: Mapping[str, Sequence[Use]]
    bus: Sequence[Use] = ()
    sample_rate: int = 44_100
    lags: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    send: SharedRoom | None = None
    channels: int = 1

    @classmethod
    def read(cls, path: Path) -> Preset:
        """Reads a JSON preset. Raises UsageError for another file, an unknown effect (naming the nearest) or a setting out of its range."""
        if not path.is_file():
            raise UsageError(f"{path}: no such file; expected a preset, as stemwright fit --save writes it")
        try:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{path} cannot be read as a preset: {error}") from error
        if not isinstance(found, Mapping) or not isinstance(found.get("stems"), Mapping):
            raise UsageError(f"{path} is no preset: expected JSON with stems, as stemwright fit --save writes it")
        try:
            stems = {str(name): _chain(chain, f"{path}, {name}") for name, chain in found["stems"].items()}
            bus = _chain(found.get("bus", []), f"{path}, bus")
            send = _send(found["send"], path, int(found.get("sample_rate", 44_100))) if "send" in found else None
            rate, lags = int(found.get("sample_rate", 44_100)), {str(name): int(lag) for name, lag in found.get("lags", {}).items()}
            channels = int(found.get("channels", 1))
        except UsageError:
            raise
        except KeyError as error:
            raise UsageError(f"{path}: expected a send with effect, settings and gains_db; it has no {error}") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(f"{path} is no preset as stemwright fit --save writes it: {error}") from error
        if not stems:
            raise UsageError(f"{path} has no stems: there is nothing to mix")
        if rate < 1:
            raise UsageError(f"{path}: expected a sample_rate of at least 1 Hz, got {rate}")
        if channels not in range(1, MOST_CHANNELS + 1):
            raise UsageError(f"{path}: expected channels of 1 or {MOST_CHANNELS}, got {channels}")
        return cls(stems, bus, rate, lags, found.get("sha256"), send, channels)

    def mix(self, stems: Mapping[str, Audio], sample_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The mix of dry stems [C, T] of one shape, float64, and what is summed in it before the bus: stems, and the shared room."""
        wet = {name: apply_chain(self._moved(name, audio, sample_rate), sample_rate, self.stems[name]) for name, audio in stems.items()}
        if self.send is not None:
            wet[SHARED_ROOM] = self.send.returned(wet, sample_rate).numpy()
        return apply_chain(np.sum(list(wet.values()), axis=0), sample_rate, self.bus), wet

    def signal(self, sources: Mapping[str, str], sample_rate: int, name: str = "mix") -> Signal:
        """The mix as a row of a pair at a sample rate has it, of the stems whose ids ``sources`` gives by name.

        Of a shared room it has the settings, not the response (``stemwright.datagen.inverse.console.recorded``).
        """
        from stemwright.datagen.inverse.console.recorded import recorded

        lags = {stem: round(lag * sample_rate / self.sample_rate) for stem, lag in self.lags.items()}
        return recorded(self.stems, self.bus, sources, lags=lags, send=self.send, name=name)

    def _moved(self, name: str, audio: Audio, sample_rate: int) -> np.ndarray:
        """A stem later by its lag, padded with silence."""
        lag = round(self.lags.get(name, 0) * sample_rate / self.sample_rate)
        moved = np.zeros(audio.shape)
        start, stop = max(0, lag), min(audio.shape[1], audio.shape[1] + lag)
        moved[:, start:stop] = audio[:, start - lag : stop - lag]
        return moved


def is_preset(path: Path) -> bool:
    """Whether a file says of itself that it is a preset; its settings may be wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig")) if path.stat().st_size <= LONGEST_PRESET else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, Mapping) and found.get("kind") == KIND and isinstance(found.get("stems"), Mapping)


def _send(plain: Any, path: Path, sample_rate: int) -> SharedRoom:
    """The shared room, with the response beside the preset."""
    from stemwright.datagen.inverse.console.reverberation import Feed
    from stemwright.datagen.inverse.console.shared_room import SENDS, SharedRoom

    if not isinstance(plain, Mapping) or not isinstance(plain.get("gains_db", {}), Mapping):
        such = '{"effect": "room", "settings": {}, "gains_db": {"vocals": -12}}'
        raise UsageError(f"{path}: expected a send such as {such}, got {json.dumps(plain)}")
    [(effect, settings)] = _chain([{"effect": plain["effect"], "settings": plain["settings"]}], f"{path}, send")
    if effect not in SENDS:
        raise UsageError(f"{path}: expected a send to {' or '.join(SENDS)}, got one to {effect}")
    gains_db = {str(name): float(value) for name, value in plain["gains_db"].items()}
    for name, gain_db in gains_db.items():
        if not gain_db <= HIGHEST_SEND_DB:
            raise UsageError(f"{path}: the gain of {name} into the send must be a number up to {HIGHEST_SEND_DB:g} dB; got {gain_db:g}")
    room = SharedRoom(gains_db, cast(Any, settings), sample_rate=sample_rate, feed=Feed(plain.get("feed", "each")))
    return _with_response(room, response_path(path)) if plain.get("response") else room


def _with_response(room: SharedRoom, path: Path) -> SharedRoom:
    import torch

    from stemwright.manifests.records import Refused
    from stemwright.manifests.sound.decoding import load

    try:
        audio, rate = load(path)
    except (OSError, ValueError, Refused) as error:
        what = 'Put it beside the preset, or delete "response" from its "send": then the room has a noise of its own'
        raise UsageError(f"the response of the shared room cannot be read: {error}. {what}") from error
    if len(audio) > MOST_CHANNELS:
        raise UsageError(f"{path}: expected a response of 1 or {MOST_CHANNELS} channels, got {len(audio)}")
    return replace(room, response=torch.from_numpy(np.array(audio, float)), sample_rate=rate)


def response_path(path: Path) -> Path:
    """The file of the shared room's response beside a preset or a script."""
    return path.with_suffix(RESPONSE)


def _chain(uses: Any, where: str) -> tuple[Use, ...]:
    if not isinstance(uses, list):
        raise UsageError(f"{where}: expected a list of effects, got {json.dumps(uses)}")
    if wrong := [use for use in uses if not (isinstance(use, Mapping) and isinstance(use.get("effect"), str))]:
        raise UsageError(f'{where}: expected {{"effect": NAME, "settings": {{...}}}}, got {json.dumps(wrong[0])}')
    try:
        return tuple((effect.NAME, settings) for effect, settings in resolve_chain(uses))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: {error}") from error


def text(preset: Preset, files: Mapping[str, Path]) -> PresetText:
    """The JSON of a preset. It holds everything."""
    plain = {
        "kind": KIND,
        "stemwright": __version__,
        "sample_rate": preset.sample_rate,
        **({"channels": preset.channels} if preset.channels > 1 else {}),
        "stems": {name: plain_chain(chain) for name, chain in preset.stems.items()},
        "bus": plain_chain(preset.bus),
        "lags": {name: lag for name, lag in preset.lags.items() if lag},
        "files": {name: path.name for name, path in files.items()},
        **({"sha256": preset.sha256} if preset.sha256 else {}),
        **({"send": _plain_send(preset.send)} if preset.send else {}),
    }
    return PresetText(
        json.dumps(plain, indent=2, ensure_ascii=False) + "\n", response=preset.send is not None and preset.send.response is not None
    )


def _plain_send(room: SharedRoom) -> dict[str, Any]:
    [use] = plain_chain([("room", room.settings)])
    response = {} if room.response is None else {"response": RESPONSE}
    return {**use, "gains_db": dict(room.gains_db), "feed": room.feed.value, **response}


def plain_chain(chain: Sequence[Use]) -> list[dict[str, Any]]:
    """A chain as JSON can hold it: a value that is infinite as text."""
    return [{"effect": name, "settings": {key: _plain(value) for key, value in settings.plain().items()}} for name, settings in chain]


def _plain(value: Any) -> Any:
    return ("inf" if value > 0 else "-inf") if isinstance(value, float) and not np.isfinite(value) else value
