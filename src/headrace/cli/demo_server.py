# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The demo's server: a real `headrace serve` in a process of its own, and calls to it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.config import FILE_NAME
from headrace.errors import AlreadyExists, Error, Unreachable

STREAM = "telemetry"
DELIVERY = "archive"
BUCKET = "archive"
SHARDS = 4
READY_S = 15.0
STOP_S = 15.0
ANSWER_S = 30.0
_KINESIS = "Kinesis_20131202"
_FIREHOSE = "Firehose_20150804"
_MARK = "# Written by headrace demo; a later demo in this directory writes it again.\n"


class Api:
    """One connection to the server, one call at a time. Never repeats a call by itself: a put whose answer
    was lost may have been taken in."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)

    def post(self, target: str, body: bytes) -> bytes:
        """The body of the answer. Raises Unreachable, or Error with the service's code."""
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
        try:
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            self._connection.close()
            raise Unreachable(f"the demo's server does not answer: {problem!r}") from problem
        if answer.status != 200:
            found = msgspec.json.decode(data) if data else {}
            code = str(found.get("__type", answer.status)).rpartition("#")[2]
            raise Error(f"{target}: {found.get('message', code)}", code=code)
        return data

    def kinesis(self, operation: str, **members: Any) -> dict[str, Any]:
        """A Data Streams operation."""
        return self._call(_KINESIS, operation, members)

    def firehose(self, operation: str, **members: Any) -> dict[str, Any]:
        """A Firehose operation."""
        return self._call(_FIREHOSE, operation, members)

    def _call(self, service: str, operation: str, members: dict[str, Any]) -> dict[str, Any]:
        data = self.post(f"{service}.{operation}", msgspec.json.encode(members))
        return msgspec.json.decode(data, type=dict[str, Any]) if data else {}

    def close(self) -> None:
        self._connection.close()


class DemoServer:
    """A directory being served. Use as a context manager; it ends the process that it started, by its id.

    Attributes:
        directory: the store; `archive` in it gets the objects.
        url: where it answers.
        exit_code: of the server, after `stop`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.archive = directory / "archive"
        self.config = directory / FILE_NAME
        self.log = directory / "demo.log"
        self.url = ""
        self.exit_code: int | None = None
        self._place = ("", 0)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and return when requests are answered. Raises Unreachable with what the server said."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_config(self.config, self.archive)
        ready = self.directory / ".demo-ready.json"
        ready.unlink(missing_ok=True)
        words = [sys.executable, "-m", "headrace", "serve", str(self.directory)]
        words += ["--bind", "127.0.0.1:0", "--config", str(self.config), "--ready-file", str(ready)]
        with self.log.open("wb") as log:
            # A group of its own: Ctrl-C reaches the demo alone, which ends the server when it has checked.
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        end = time.monotonic() + READY_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                lines = self.log.read_text(errors="replace").strip().splitlines()
                said = lines[-1].removeprefix("headrace: ") if lines else "it said nothing"
                raise Unreachable(f"the demo's server did not start: {said}", hint=f"see {self.log}")
            time.sleep(0.01)
        found = json.loads(ready.read_text())
        self.url = found["url"]
        self._place = (found["host"], found["port"])

    def api(self) -> Api:
        """A new connection."""
        return Api(*self._place)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the server in order, or, where it does not within some seconds, at once."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.exit_code = process.returncode

    def __enter__(self) -> DemoServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def write_config(path: Path, archive: Path) -> None:
    """Map the demo's bucket to a directory. A headrace.toml of somebody else is left alone, and an error."""
    text = f"{_MARK}[buckets.{BUCKET}]\nurl = {json.dumps(archive.absolute().as_uri())}\n"
    if path.exists() and not path.read_text(errors="replace").startswith(_MARK):
        raise AlreadyExists(f"{path} is not the demo's", hint="give the demo a directory of its own")
    path.write_text(text, encoding="utf-8")


def create_stream(api: Api) -> str:
    """The ARN of the stream that gets the records, made if an earlier demo did not."""
    try:
        api.kinesis("CreateStream", StreamName=STREAM, ShardCount=SHARDS)
    except Error as error:
        if error.code != "ResourceInUseException":
            raise
    found = api.kinesis("DescribeStreamSummary", StreamName=STREAM)["StreamDescriptionSummary"]
    return str(found["StreamARN"])


def create_delivery(api: Api, stream_arn: str, prefix: str, interval_s: int) -> None:
    """Deliver the stream's records from now on as gzip objects under `prefix`."""
    remove_delivery(api)
    role = "arn:aws:iam::000000000000:role/demo"
    api.firehose(
        "CreateDeliveryStream",
        DeliveryStreamName=DELIVERY,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": stream_arn, "RoleARN": role},
        ExtendedS3DestinationConfiguration={
            "BucketARN": f"arn:aws:s3:::{BUCKET}",
            "RoleARN": role,
            "Prefix": prefix,
            "CompressionFormat": "GZIP",
            "BufferingHints": {"SizeInMBs": 4, "IntervalInSeconds": interval_s},
        },
    )
    end = time.monotonic() + READY_S
    while (status := delivery_status(api)) != "ACTIVE":
        if status == "CREATING_FAILED" or time.monotonic() > end:
            raise Error(f"the delivery stream {DELIVERY} is {status}")
        time.sleep(0.02)


def delivery_status(api: Api) -> str:
    """Its status, or "GONE"."""
    try:
        found = api.firehose("DescribeDeliveryStream", DeliveryStreamName=DELIVERY)
    except Error as error:
        if error.code == "ResourceNotFoundException":
            return "GONE"
        raise
    return str(found["DeliveryStreamDescription"]["DeliveryStreamStatus"])


def remove_delivery(api: Api) -> None:
    """Delete what an earlier demo in this directory left."""
    with contextlib.suppress(Error):
        api.firehose("DeleteDeliveryStream", DeliveryStreamName=DELIVERY)
    end = time.monotonic() + READY_S
    while (status := delivery_status(api)) != "GONE":
        if time.monotonic() > end:
            raise Error(f"the delivery stream {DELIVERY} of an earlier demo is still {status}")
        time.sleep(0.05)
