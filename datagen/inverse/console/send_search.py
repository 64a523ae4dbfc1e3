"""The search of a console whose stems share a room: chains for the mixture without the reverberation, the room for what the chains leave.

Conventions
    Audio is a tensor [C, T], float64. The excerpt in which chains are searched is that without a room: it depends on the stems only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.inverse.console.fitted_console import shifted
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSearchResult, ConsoleSettings
from stemwright.datagen.inverse.console.preparation import prepared
from stemwright.datagen.inverse.console.shared_room import CALLED, SENDS, shared_room
from stemwright.datagen.inverse.effect_roles import has
from stemwright.manifests.usage import UsageError

ROUNDS = 2  # of room and chains

Stems = Mapping[str, torch.Tensor]


def check_send(send: str, bus: object, chains: Mapping[str, Sequence[str]]) -> None:
    """Raises UsageError for a reverb that cannot be found, one beside effects of the bus, or one beside a room in the chain of a stem.

    A room in the chain of a stem and a shared one both give decaying noise, of which the mixture contains only the sum.
    """
    if send and CALLED.get(send, send) not in SENDS:
        raise UsageError(f"expected send {' or '.join((*SENDS, *CALLED))}, or none; got {send!r}")
    if send and bus:
        raise UsageError("a shared room is found only without effects on the mix bus; leave out one of them")
    own = [name for name, chain in chains.items() if any(has(effect, "stochastic") for effect in chain)]
    if send and own:
        raise UsageError(
            f"a shared room beside a room of its own for {', '.join(own)} cannot be determined: the mixture contains only the sum "
            f"of both. Leave out the send, or the room of {', '.join(own)}, whose gain into the shared room then represents both"
        )


def search_with_room(
    mixture: torch.Tensor,
    stems: Stems,
    problem: ConsoleProblem,
    found: ConsoleSearchResult,
    again: Callable[[ConsoleProblem, ConsoleSettings], ConsoleSearchResult],
) -> tuple[ConsoleProblem, ConsoleSearchResult]:
    """The problem without the reverberation that was found, and the console that ``again`` found for it.

    ``stems`` are aligned; ``found`` is a console from the mixture as it is.
    """
    for _ in range(ROUNDS):
        wet = rendered(stems, problem.sample_rate, found.console)
        room = shared_room(mixture, wet, problem.sample_rate, problem.taps, confidences=False)
        cleaned, _ = prepared(mixture - room.returned(wet, problem.sample_rate), stems, problem.sample_rate, whole=True)
        problem = replace(cleaned, stems={name: cleaned.stems[name] for name in found.console.chains})
        found = again(problem, found.console)
    return problem, found


def rendered(stems: Stems, sample_rate: int, console: ConsoleSettings) -> dict[str, torch.Tensor]:
    """The stems through their chains."""
    return {name: apply_chain(stems[name], sample_rate, chain) for name, chain in console.chains.items()}


def aligned(stems: Stems, lags: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The stems as late as they are in the mixture."""
    return {name: shifted(audio, lags.get(name, 0)) for name, audio in stems.items()}
