"""What a coded file says of its own length and wholeness, whatever a decoder makes of it.

Decoders return what is left of a file that was cut or damaged, without an error.

Conventions
    A file that says itself that sound is missing is refused here, before it is decoded. ``at_least`` is what a decoder must give besides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.content import Content
from stemwright.manifests.sound.cut_containers import JOINED, check_not_cut
from stemwright.manifests.sound.flac_length import flac_length
from stemwright.manifests.sound.mpeg_packets import Packets, packets_of
from stemwright.manifests.sound.ogg_pages import checked_ogg

NO_SOUND = "contains no samples: headers, and not one frame of sound"
CLUSTER, SMALL_BYTES = b"\x1f\x43\xb6\x75", 1 << 16  # of Matroska: what has sound in it; a file that is all headers is no larger
TAGS_BEHIND = ((b"TAG", 128), (b"APETAGEX", 32))  # how a tag begins, and how far before the end of the file
SLACK_S = 0.5  # mp4, Matroska and ASF state a duration that is rounded, and counts or leaves out padding
PROMISE_SLACK = 2  # packets: some encoders count their own header or the last, incomplete one


@dataclass
class Facts:
    """What a file says."""

    num_frames: int | None = None  # None: only its container knows
    at_least: int | None = None  # frames; None: as many as its container states
    slack_s: float = SLACK_S
    source: str = "header"
    end: int | None = None  # the byte behind the last packet, where tags may follow
    packet_frames: int = 0
    is_plain_mp3: bool = False  # one packet gives ``packet_frames`` frames, but for the first and the last
    forgives_errors: bool = False  # what a decoder leaves out is found by counting
    notes: list[str] = field(default_factory=list)

    def packets_to_skip(self, start_frame: int) -> int:
        """How many packets certainly are before a frame; 0 where each has to be decoded to know the next."""
        return start_frame // self.packet_frames - 1 if self.is_plain_mp3 else 0


def stated_facts(path: Path, content: Content) -> Facts:
    """What a file says. Raises Refused if it says that some of its sound is missing."""
    if content.format in ("mpeg", "adts"):
        return _of_packets(packets_of(path, content.format, content.start), content.format)
    if content.format == "ogg":
        ogg = checked_ogg(path, content.start)
        if len(ogg.codecs) > 1 and (b"vorbis" in ogg.codecs or len(set(ogg.codecs)) > 1):
            links = f"{len(ogg.codecs)} recordings are chained in it"
            raise Refused(f"{links}, which decoders of Vorbis join differently. Split it into its parts")
        if len(ogg.codecs) > 1 and max(ogg.channels, default=0) > 2:
            raise Refused(
                f"{len(ogg.codecs)} recordings of {max(ogg.channels)} channels are chained in it, of which decoders of Opus read the first "
                "alone. Split it into its parts"
            )
        if len(set(ogg.channels)) > 1:
            raise Refused(changed((0, ogg.channels[0]), (0, next(count for count in ogg.channels if count != ogg.channels[0]))))
        if ogg.main and not ogg.has_packets:
            raise Refused(NO_SOUND)
        note = f"ends at {ogg.ends_at} without OGG's mark of the end, so that sound may be missing there"
        return Facts(at_least=ogg.at_least, slack_s=0.0, source="last page", notes=[] if ogg.has_end else [note])
    if content.format == "flac":
        length = flac_length(path, content.start)
        if length is None:
            raise Refused("not a readable sound file (the header of FLAC is damaged)")
        if length.is_joined:
            raise Refused(JOINED)
        reached = length.reached if length.reached is not None else length.stated
        if length.stated > reached:
            raise Refused(f"truncated: ends {length.stated - reached} frames before the end that its header states")
        notes = [f"its header states {length.stated} frames: all {reached} are read"] if 0 < length.stated < reached else []
        return Facts(reached, reached, slack_s=0.0, source="last frame", notes=notes)
    if content.format == "matroska" and path.stat().st_size < SMALL_BYTES and CLUSTER not in path.read_bytes():
        raise Refused(NO_SOUND)
    if content.format == "ac3":
        _check_untagged(path, content)
    return Facts(notes=check_not_cut(path, content))


def _check_untagged(path: Path, content: Content) -> None:
    """Raises Refused for AC-3 with tags around it: ffmpeg takes them for sound, and loses the last packet."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        ends = [file.read(len(sign)) == sign for sign, before in TAGS_BEHIND if size > before and file.seek(size - before) >= 0]
    if content.start or any(ends):
        where = "before" if content.start else "behind"
        raise Refused(
            f"a tag is {where} its packets of AC-3, where decoders take it for sound. Remove the tag, or wrap the sound in m4a or mka"
        )


def _of_packets(packets: Packets, format_name: str) -> Facts:
    rate, _, frames = packets.kind

    def time(count: int) -> str:
        return f"{count * frames / rate:.2f} s"

    for count, kind in packets.changes:
        if kind[:2] != packets.kind[:2]:
            raise Refused(f"{changed(packets.kind[:2], kind[:2])} (at {time(count)})")
    found = packets.count - (packets.promised is not None)
    if packets.promised is not None and not found:
        raise Refused(NO_SOUND)
    notes = list[str]()
    if packets.promised is not None and packets.promised - found > PROMISE_SLACK:
        missing = time(packets.promised - found)
        raise Refused(f"truncated: ends at {time(found)}, {missing} before the end that its header states")
    counted = packets.promised is not None and found >= packets.promised
    if packets.damage and not counted:
        count, size = packets.damage[0]
        raise Refused(f"damaged: {size} bytes at {time(count)} are neither a packet nor a tag, so that sound may be missing there")
    if packets.is_cut and not counted:
        notes.append("ends within a packet, so that sound may be missing at its end")
    elif packets.promised is not None and packets.promised > found + (not packets.trimmed):  # some count their header as a packet
        notes.append(f"its header states {time(packets.promised)}, but only {time(found)} are there")
    if packets.promised is not None and found - packets.promised > PROMISE_SLACK:
        notes.append(f"its header states {time(packets.promised)}: all {time(found)} are read")
    if format_name == "adts":
        return Facts(None, 0, end=packets.end, notes=notes)
    is_plain = not (packets.damage or packets.changes or packets.interruptions) and (
        packets.promised is None or abs(found - packets.promised) <= PROMISE_SLACK
    )
    slack_s = 0.1 + packets.interruptions * frames / rate
    return Facts(packets.num_frames, packets.num_frames, slack_s, "packets", packets.end, frames, is_plain, True, notes)


def changed(before: tuple[int, int], after: tuple[int, int]) -> str:
    """The words for (sample rate, channels) that change within a file."""
    what = (
        f"its sample rate changes from {before[0]} to {after[0]} Hz"
        if before[0] != after[0]
        else f"its number of channels changes from {before[1]} to {after[1]}"
    )
    return f"{what} on the way, so that it is more than one recording; split it there"
