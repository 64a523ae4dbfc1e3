"""Buckets of S3 and what speaks its protocol, of Google Cloud Storage and of Azure, through ``obstore``.

Conventions
    Credentials, region and endpoint are those of the environment, as ``obstore`` documents them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL and the roles of EC2, ECS and EKS; GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_*. None
    is stored or printed. An endpoint of http is accepted on this machine only, unless AWS_ALLOW_HTTP says otherwise.
    An object larger than a part is uploaded in parts, in one step: it appears whole, or not at all. An object has at most 5 TB.
    What fails for a moment is tried again by the client, for a minute.

References
    https://developmentseed.org/obstore; Amazon S3, error responses; Amazon S3, multipart upload limits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stemwright.manifests.disk.stores import Listed, Span, StoreError, check_length, cut, is_key, merged

GAP_BYTES = 1 << 16  # ranges that are nearer than this are read in one request: less than a request costs
PART_BYTES = 16 << 20
MOST_PARTS = 10_000  # S3 and Azure allow so many parts of an object, or more
MOST_BYTES = 5 * 10**12  # of one object, S3 and Google Cloud
RETRY_S, CONNECT_S, REQUEST_S = 60, 10, 1800
CODE = re.compile(r"<Code>(\w+)</Code>")
FORBIDDEN = re.compile(r"status(?: code)?: 40[13]\b")  # and not any 403, which a port, a key or a duration may hold
NO_CREDENTIALS = ("169.254.169.254", "/latest/api/token", "metadata.google.internal", "MissingCredentials", "credentials were not")
EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired", "InvalidToken")
OTHER_TIME = ("RequestTimeTooSkewed", "RequestInTheFuture")
WRONG_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "InvalidAuthenticationInfo")
OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "incorrectly configured region", "IllegalLocationConstraintException")
CHECK = "Check the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or a role)"


def s3_bucket(bucket: str) -> BucketStore:
    """A bucket of S3, or of a server that speaks its protocol."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT", "")
    local = urlsplit(endpoint).hostname in ("localhost", "127.0.0.1", "::1")
    client = {"allow_http": True} if local else {}
    return BucketStore(f"s3://{bucket}", {"endpoint": endpoint} if endpoint else {}, client)


def google_bucket(bucket: str) -> BucketStore:
    """A bucket of Google Cloud Storage."""
    return BucketStore(f"gs://{bucket}")


def azure_container(bucket: str) -> BucketStore:
    """A container of Azure Blob Storage; AZURE_STORAGE_ACCOUNT_NAME names the account."""
    return BucketStore(f"az://{bucket}")


class BucketStore:
    """The objects of one bucket."""

    def __init__(self, url: str, config: dict[str, Any] | None = None, client: dict[str, Any] | None = None) -> None:
        try:
            import obstore  # the only module that imports it
        except ImportError as error:
            raise StoreError(f'{url}: buckets are read with obstore, which is not installed; pip install "stemwright[cloud]"') from error
        self._api: Any = obstore
        self._url, self._process = url, os.getpid()
        options = {"timeout": timedelta(seconds=REQUEST_S), "connect_timeout": timedelta(seconds=CONNECT_S), **(client or {})}
        retry = {"max_retries": 6, "retry_timeout": timedelta(seconds=RETRY_S)}
        with self._worded("", "open"):
            open_url: Any = obstore.store.from_url
            self._store = open_url(url, client_options=options, retry_config=retry, **(config or {}))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of an object, or so many of them, in one request."""
        with self._worded(key, "read"):
            if length is None and not start:
                found = self._api.get(self._store, key)
                return check_length(bytes(found.bytes()), int(found.meta["size"]), f"{self._url}/{key}")
            wanted = {"offset": start} if length is None else (start, start + length)
            data = bytes(self._api.get(self._store, key, options={"range": wanted}).bytes())
        return data if length is None else check_length(data, length, f"{self._url}/{key}")

    def get_ranges(self, key: str, spans: Sequence[Span]) -> list[bytes]:
        """Several ranges of an object, near ones in one request, the others side by side."""
        wanted = merged(spans, GAP_BYTES)
        if len(wanted) == 1:
            return cut(spans, [(wanted[0], self.get(key, *wanted[0]))])
        with ThreadPoolExecutor(min(8, max(1, len(wanted)))) as pool:
            return cut(spans, list(zip(wanted, pool.map(lambda span: self.get(key, *span), wanted), strict=True)))

    def download(self, key: str, place: Path) -> None:
        """Writes an object to a new file, piece by piece."""
        with self._worded(key, "read"), place.open("xb") as file:
            found = self._api.get(self._store, key)
            expected, written = int(found.meta["size"]), 0
            for piece in found.stream(min_chunk_size=PART_BYTES):
                written += file.write(piece)
        if written != expected:
            raise OSError(5, f"the store gave {written:,} of {expected:,} bytes", f"{self._url}/{key}")

    def size(self, key: str) -> int | None:
        """The size of an object; None if there is none."""
        try:
            with self._worded(key, "read"):
                return int(self._api.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def put(self, key: str, data: Path | bytes, *, create: bool = True) -> bool:
        """Writes an object, in parts if it is large."""
        num_bytes = data.stat().st_size if isinstance(data, Path) else len(data)
        if num_bytes > MOST_BYTES:
            raise StoreError(f"{self._url}/{key} would have {num_bytes:,} bytes; buckets take at most {MOST_BYTES:,} in one object")
        part = max(PART_BYTES, -(-num_bytes // MOST_PARTS))
        if create and num_bytes > part and self.size(key) is not None:
            return False
        with self._worded(key, "write"):
            try:
                only_new = create and num_bytes <= part  # uploads in parts have no such condition
                self._api.put(self._store, key, data, chunk_size=part, **({"mode": "create"} if only_new else {}))
            except self._api.exceptions.AlreadyExistsError:
                return False
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        """All objects below a prefix."""
        with self._worded(prefix, "list"):
            for chunk in self._api.list(self._store, prefix=prefix or None, chunk_size=1000):
                for found in chunk:
                    yield Listed(str(found["path"]), int(found["size"]), str(found["e_tag"] or ""))

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects, a thousand a request where the store can."""
        wanted = list(keys)
        with self._worded(wanted[0] if wanted else "", "delete"):
            for start in range(0, len(wanted), 1000):
                self._api.delete(self._store, wanted[start : start + 1000])

    @contextmanager
    def _worded(self, key: str, verb: str) -> Iterator[None]:
        """Gives the client's errors a sentence: FileNotFoundError for a missing object, StoreError for what ends all work."""
        if os.getpid() != self._process:
            raise StoreError(
                f"{self._url} was opened in another process, of which this one is a fork: the client's threads are not here. "
                'Start the workers by themselves: DataLoader(..., multiprocessing_context="forkserver")'
            )
        if key and not is_key(key):
            raise FileNotFoundError(2, "no such object", f"{self._url}/{key}")
        try:
            yield
        except (StoreError, self._api.exceptions.AlreadyExistsError):
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(self._sentence(error, key, verb)) from error
            raise FileNotFoundError(2, "there is no such object", f"{self._url}/{key}") from error
        except self._api.exceptions.BaseError as error:
            if "InvalidRange" in str(error):
                raise OSError(5, "the object ends before what was requested of it", f"{self._url}/{key}") from error
            raise StoreError(self._sentence(error, key, verb)) from error

    def _sentence(self, error: Exception, key: str, verb: str) -> str:
        text = str(error)
        found = CODE.search(text)
        code, what = found[1] if found else "", f"{self._url}/{key}".rstrip("/")
        if code == "NoSuchBucket" or "ContainerNotFound" in text:
            return f"there is no bucket {self._url}; make it, or correct the address"
        if code in EXPIRED:
            return f"the credentials for {self._url} have expired ({code}); renew them and run the same command again"
        if code in OTHER_TIME:
            return f"the clock of this machine differs too much from that of {self._url} ({code}); set it, and run the same command again"
        if code in WRONG_KEY:
            return f"the credentials for {self._url} are not accepted ({code}). {CHECK}"
        if code in OTHER_REGION or any(phrase in text for phrase in OTHER_REGION):
            return f"the bucket {self._url} is in another region than the requests; set AWS_REGION to its region"
        if any(phrase in text for phrase in NO_CREDENTIALS):
            return f"no credentials for {self._url} were found. {CHECK}"
        if "empty path segment" in text or "invalid path" in text:
            return f"{what} holds a key with an empty part ('a//b'), which cannot be listed; rename it, or give another prefix"
        refused = (PermissionError, self._api.exceptions.PermissionDeniedError, self._api.exceptions.UnauthenticatedError)
        if isinstance(error, refused) or FORBIDDEN.search(text):
            also = " (or it is not there: a store that may not be listed says the same)" if verb == "read" else ""
            return f"not allowed to {verb} {what}{also}. {CHECK}, and the policy of the bucket"
        reason = code or re.sub(r"\s+", " ", text.split("\n\nDebug", 1)[0])[:200]
        return f"{self._url} cannot be used: {reason}. Finished work is kept; run the same command again"
