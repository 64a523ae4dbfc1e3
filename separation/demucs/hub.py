"""Fetching published weights from the hub: over an encrypted connection unless the user consents to another, into the hub's own cache.

Conventions
    ``HF_ENDPOINT`` names another hub. A request to an ``http://`` address, as the endpoint or by a redirect, is not sent unless
    ``STEMWRIGHT_ALLOW_HTTP=1``: the weights could be tampered with in transit. Models that are in the cache need no request.
    A hub is first asked once for the metadata of the model's definition: ``hf_hub_download`` by itself tries five times, for half a
    minute, where there is no network and the file is not in the cache.

References
    huggingface_hub, ``hf_hub_download``, ``get_hf_file_metadata`` and ``set_client_factory``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stemwright.manifests.progress import OnProgress
from stemwright.separation.demucs.weights import SUMS_FILE, ModelError, WeightsUnavailable, check_definition, remember

HUB = "https://huggingface.co"
NAMESPACE = "adefossez"  # of Demucs's author on the hub
HTTP_VARIABLE = "STEMWRIGHT_ALLOW_HTTP"
MB = 10**6
_on_progress: ContextVar[OnProgress | None] = ContextVar("on_progress", default=None)
ANSWER_S = 10.0  # how long a hub may take to answer


def repository(name: str) -> tuple[str, str]:
    """The hub repository of a model name (``hf://`` and a namespace may precede it), and the plain name."""
    plain = name.removeprefix("hf://")
    namespace, _, plain = plain.rpartition("/")
    if plain == "htdemucs":
        folder = "HTDemucs"
    elif plain.startswith("htdemucs_"):
        folder = "HTDemucs-" + plain.removeprefix("htdemucs_")
    else:
        folder = "Demucs-" + plain
    return f"{namespace or NAMESPACE}/{folder}", plain


def download(name: str, tried: list[str], *, offline: bool, read: Callable[[Path], dict[str, Any]], ways_out: str) -> Path:
    """The folder of the hub's cache that holds a model, fetched if needed; ``read`` reads its definition.

    Places searched are appended to ``tried``. Raises WeightsUnavailable, ending with ``ways_out``, or ModelError if the files differ from
    what is expected.
    """
    from huggingface_hub import constants, hf_hub_download

    repo, plain = repository(name)
    endpoint = os.environ.get("HF_ENDPOINT", HUB)
    tried.append(f"the hub's cache {constants.HF_HUB_CACHE}")
    if not offline:
        tried.append(f"the address {endpoint}/{repo}/resolve/main/{plain}.yaml")
    unasked = (
        "nothing was downloaded, because of --offline" if offline else _unencrypted(endpoint) or _no_answer(repo, f"{plain}.yaml", endpoint)
    )

    def get(file: str) -> Path:
        reported = _on_progress.get()
        bar = None if reported is None else _reporting_bar(reported, file)
        return Path(hf_hub_download(repo, file, endpoint=endpoint, local_files_only=unasked is not None, tqdm_class=bar))

    try:
        with _encrypted_only():
            definition = get(f"{plain}.yaml")
            bag = read(definition)
            if repo.startswith(f"{NAMESPACE}/"):
                check_definition(plain, bag, f"{definition.name} from {endpoint}")
            members = [get(f"{signature}.safetensors") for signature in bag["models"]]
    except ModelError:
        raise
    except Exception as error:  # the client raises errors of several libraries; all mean that the weights are unreachable
        why = unasked or f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise WeightsUnavailable(f"no weights of model {name!r}: looked in {', then '.join(tried)} ({why}). {ways_out}") from error
    if (sums := sums_of(definition.parent)) is not None:
        remember(sums, members, where=endpoint)
    return definition.parent


@contextmanager
def reporting(on_progress: OnProgress) -> Iterator[None]:
    """Reports what is fetched within, in MB, instead of letting the hub's client draw bars, which a log cannot show."""
    before = _on_progress.set(on_progress)
    try:
        yield
    finally:
        _on_progress.reset(before)


def _reporting_bar(on_progress: OnProgress, file: str) -> Any:
    """A bar for the hub's client that draws nothing and reports."""
    import io

    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.total:
                on_progress(self.n / MB, math.ceil(self.total / MB), f"MB of {file}")
            return drawn

    return Bar


def cached_folder(name: str) -> Path | None:
    """The folder of the hub's cache that holds a model's definition; None if it was never fetched. Sends no request."""
    from huggingface_hub import try_to_load_from_cache

    repo, plain = repository(name)
    path = try_to_load_from_cache(repo, f"{plain}.yaml")
    return Path(path).parent if isinstance(path, str) else None


def sums_of(folder: Path) -> Path | None:
    """Where the first checksums of a folder of the hub's cache are recorded: beside ``snapshots/REVISION``. None of other folders."""
    return folder.parents[1] / SUMS_FILE if folder.parent.name == "snapshots" else None


def _consent() -> bool:
    return os.environ.get(HTTP_VARIABLE, "") == "1"


def _unencrypted(address: str) -> str | None:
    """Why an address is not contacted, as a message; None if it is encrypted, or if the user consents."""
    if urlsplit(address).scheme == "https" or _consent():
        return None
    return (
        f"{address} was not contacted: the connection is not encrypted, so the weights could be tampered with. Use an https:// address, or "
        f"set {HTTP_VARIABLE}=1 if you trust the network"
    )


@contextmanager
def _encrypted_only() -> Iterator[None]:
    """Keeps the hub's client from sending requests to unencrypted addresses, redirects included."""
    from huggingface_hub.utils import _http

    before = _http._GLOBAL_CLIENT_FACTORY

    def guarded() -> Any:
        client = before()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [_check_request, *hooks.get("request", [])],
            "response": [_check_links, *hooks.get("response", [])],
        }
        return client

    _http.set_client_factory(guarded)
    try:
        yield
    finally:
        _http.set_client_factory(before)


def _check_request(request: Any) -> None:
    if phrase := _unencrypted(str(request.url)):
        raise ModelError(phrase)


def _check_links(response: Any) -> None:
    """Refuses a server that sends large files by another protocol (Xet) from an unencrypted address: which this client does not check."""
    for name, value in response.headers.items():
        if name.lower().startswith("x-xet") or name.lower() == "link":
            for address in re.findall(r"http://[^\s>;,\"]+", value):
                if phrase := _unencrypted(address):
                    raise ModelError(phrase)


def _no_answer(repo: str, file: str, endpoint: str) -> str | None:
    """Why a hub cannot be reached, as a message; None if it gives any answer to a request for what it knows of a file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError

    try:
        with _encrypted_only():
            get_hf_file_metadata(hf_hub_url(repo, file, endpoint=endpoint), timeout=ANSWER_S)
    except (HfHubHTTPError, FileMetadataError):
        return None  # ``hf_hub_download`` says what is wrong with the answer
    except ModelError:
        raise
    except Exception as error:  # the client raises errors of the library beneath it, which differs between its versions
        return f"no answer from {endpoint}: {str(error).splitlines()[0]}"
    return None
