"""What makes the separator of a corpus: in this process, or once in each worker of a cluster.

Conventions
    An order can be pickled and loads no network. A worker has one separator for all tracks, so that its networks are loaded once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.stages.separation_keys import RemoteSeparator
from stemwright.datagen.run.tasks import Needs, Workers
from stemwright.separation.choosing import other_separator
from stemwright.separation.demucs.engines import Precision
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.part_separator import DRUMS, PartSeparator, check_gives
from stemwright.separation.separator import NETWORKS, Separator, is_other

AT_ONCE = 2  # tracks in a worker of a cluster: one in the networks, one that is decoded or encoded
_OF_WORKER: dict[str, tuple[Separator, int]] = {}  # of a worker: key of an order -> separator, threads of the worker
_MAKING = threading.Lock()


def separator_of(
    config: Config, *, offline: bool = False, trust_pickle: bool = False, auto_precision: Precision | None = None
) -> Separator:
    """The separator that a configuration names; no network is loaded yet."""
    section = config.separation
    if is_other(section.separator):
        return other_separator(section.separator, section.device)
    return DemucsSeparator(
        section.model,
        section.model_folder,
        section.device,
        section.precision,
        section.engine,
        input_lufs=section.input_lufs,
        offline=offline,
        trust_pickle=trust_pickle,
        auto_precision=auto_precision,
    )


def part_config(config: Config) -> Config | None:
    """The configuration of the further separation of the drums, as one of a separation; None if they are not taken apart."""
    section = config.separation
    if section.drums.model is None:
        return None
    separator = section.drums.separator
    own: dict[str, Any] = {"separator": separator or NETWORKS, "model": section.drums.model if separator is None else section.model}
    own |= {"model_folder": section.drums.model_folder, "input_lufs": None}
    return config.model_copy(update={"separation": section.model_copy(update=own)})


@dataclass(frozen=True)
class SeparationOrder:
    """All that a process needs to make the separator of a corpus; with ``part_of`` that which takes this stem apart."""

    config: Config
    offline: bool = False
    trust_pickle: bool = False
    auto_precision: Precision | None = None
    part_of: str = ""

    def separator(self) -> Separator:
        """The separator; no network is loaded yet."""
        offline, trust_pickle, auto_precision = self.offline, self.trust_pickle, self.auto_precision
        found = separator_of(self.config, offline=offline, trust_pickle=trust_pickle, auto_precision=auto_precision)
        return PartSeparator(found, self.config.separation.drums.names) if self.part_of else found

    def of_parts(self) -> SeparationOrder | None:
        """The order of the separator that takes the drums apart; None if they are not."""
        config = part_config(self.config)
        return None if config is None else replace(self, config=config, part_of=DRUMS)

    @property
    def key(self) -> str:
        """The same for orders of the same separator."""
        return repr((self.config.separation, self.offline, self.trust_pickle, self.auto_precision, self.part_of))


def check_orders(order: SeparationOrder, separator: Any, workers: Workers | None = None) -> None:
    """Raises UsageError, or ModelError, before anything is separated, if the drums are to be taken apart and cannot be: by their model, or
    because the first separator gives none.
    """
    parts = order.of_parts()
    if parts is None:
        return
    further = separator_for(parts, workers or Workers())
    if isinstance(further, PartSeparator):
        further.check_first(DRUMS, separator)
    else:  # the workers of a cluster have checked its names
        check_gives(DRUMS, separator)


def separator_for(order: SeparationOrder, workers: Workers) -> Any:
    """The separator of this process, or what the workers of a cluster say of theirs."""
    if not workers.dask or order.config.separation.separator == "reference":
        return order.separator()
    from stemwright.datagen.run.cluster import asked_of_workers

    answer = asked_of_workers(replace(workers, needs=Needs(probe=partial(described, order), at_once=AT_ONCE, fraction=1 / AT_ONCE)))
    return RemoteSeparator(answer["model"], answer["separator"], tuple(answer["stems"]))


def of_worker(order: SeparationOrder, threads: int | None = None) -> Separator:
    """The separator of this worker of a cluster: one for all tracks, so that its networks are loaded once."""
    with _MAKING:
        if order.key not in _OF_WORKER:
            _OF_WORKER[order.key] = (order.separator(), threads or 1)
        separator, threads = _OF_WORKER[order.key]
        inner = separator.separator if isinstance(separator, PartSeparator) else separator
        if isinstance(inner, DemucsSeparator):
            inner.use_threads(threads)  # dask's nanny allows one
        return separator


def described(order: SeparationOrder, threads: int) -> dict[str, Any]:
    """What is asked of a worker about its separator. Raises an error if it has none that works."""
    separator = of_worker(order, threads)
    separator.check()
    stems = list(separator.stem_names)
    return {"model": separator.origin, "separator": separator.identity, "stems": stems, **separator.used._asdict()}
