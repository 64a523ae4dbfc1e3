"""An S3-compatible server on loopback, in this process: moto, with a count of the requests and with errors on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "songs-and-stems"
ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'


def never_fails(method: str, path: str) -> None:
    return None


class BucketServer:
    """The server: what was requested of it, and which requests fail."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                pass

        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.requests: list[tuple[str, str]] = []  # method, path with its query
        self.fails: Callable[[str, str], tuple[int, str] | None] = never_fails
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"].encode("latin-1").decode() + (f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else "")
        self.requests.append((method, path))
        if (failure := self.fails(method, path)) is not None:
            status, code = failure
            start(f"{status} {code}", [("Content-Type", "application/xml")])
            return [] if method == "HEAD" else [ERROR.format(code=code).encode()]
        return self._app(environ, start)

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")

    def listed(self) -> list[str]:
        """All keys in the bucket."""
        found = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [each["Key"] for page in found for each in page.get("Contents", ())]

    def reads(self) -> list[str]:
        """The objects that were read since ``requests`` was cleared, one for each request."""
        return [path for method, path in self.requests if method == "GET" and "?" not in path]


@contextmanager
def serving(environment: Any, scratch: Any) -> Iterator[BucketServer]:
    """A server with one bucket, to which the environment (a MonkeyPatch) leads, with its credentials, and a scratch folder."""
    from stemwright.manifests.disk import stores

    server = BucketServer()
    server.client.create_bucket(Bucket=BUCKET)
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STEMWRIGHT_SCRATCH": str(scratch),
    }.items():
        environment.setenv(name, value)
    stores.opened.cache_clear()
    server.requests.clear()
    try:
        yield server
    finally:
        stores.opened.cache_clear()
        server.close()
