# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Which real place a bucket that clients name stands for: the operator's [buckets.NAME], and only that.

    [buckets.logs]
    url = "s3://acme-logs/raw"                       # or "file:///srv/archive"
    endpoint = "https://minio.example:9000"          # any S3 endpoint; none: AWS itself
    region = "eu-central-1"
    access_key_id = "AKIA…"
    secret_access_key = { file = "/run/secrets/s3" } # or { env = "NAME" }

Without a configuration file, and listening on loopback only, a bucket is the directory DIR/buckets/NAME.
Nothing that comes in over the API can name a file or an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.config import Bucket, Config, Secret
from headrace.errors import ConfigurationError, InvalidArgument
from headrace.firehose.destination import Destination
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.firehose.destinations.s3 import S3Destination, S3Settings
from headrace.firehose.outbound import Address

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Buckets:
    """The buckets of one store.

    directory: the store's. own: the addresses on which this process listens.
    """

    def __init__(self, config: Config, directory: Path, own: Callable[[], Iterable[Address]] = tuple) -> None:
        self._config = config
        self._directory = directory
        self._own = own

    @property
    def developer(self) -> bool:
        """Whether every bucket that is named is a directory of the store."""
        hosts = [self._config.server.bind.host, *(host for host, _ in self._own())]
        return self._config.path is None and all(host in _LOOPBACK for host in hosts)

    def find(self, name: str) -> Destination:
        """The destination for a bucket. Raises InvalidArgument that says what to add to headrace.toml."""
        bucket = self._config.buckets.get(name)
        if bucket is None:
            if self.developer and _NAME.fullmatch(name):
                return DirectoryDestination(self._directory / "buckets" / name)
            raise InvalidArgument(
                f'Bucket {name} is not mapped. Add [buckets."{name}"] with url = "s3://…" or "file:///…" to '
                "headrace.toml."
            )
        try:
            return self._make(name, bucket)
        except ConfigurationError as error:
            raise InvalidArgument(f"Bucket {name}: {error.message}") from None

    def _make(self, name: str, bucket: Bucket) -> Destination:
        parts = urlsplit(bucket.url)
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
                raise ConfigurationError(f"url {bucket.url} is not file:///absolute/path")
            return DirectoryDestination(Path(unquote(parts.path)))
        if parts.scheme != "s3" or not parts.netloc:
            raise ConfigurationError(f"url {bucket.url} is neither s3://bucket/path nor file:///directory")
        if bucket.access_key_id is None or bucket.secret_access_key is None:
            raise ConfigurationError("access_key_id and secret_access_key are missing in headrace.toml")
        settings = S3Settings(
            bucket=parts.netloc,
            path=parts.path.strip("/"),
            endpoint=bucket.endpoint,
            region=bucket.region or "us-east-1",
            access_key_id=bucket.access_key_id.reveal(),
            secret_access_key=bucket.secret_access_key.reveal(),
            session_token=_reveal(bucket.session_token),
        )
        return S3Destination(settings, self._own)


def _reveal(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
