# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A real S3 server for tests: versitygw over a directory, on a loopback port of its own.

    def test_something(gateway):                # from conftest.py: started, and killed at the end
        gateway.kill(); gateway.start()         # on the same port, with the same objects

The binary is ${HEADRACE_COMPONENTS:-build/components}/bin/versitygw, which `.ci/components.sh` installs. Where
it is missing the tests fail and name it.
"""

import os
import socket
from pathlib import Path

import boto3
from serving import BUCKET, Process, wait_for

COMPONENTS = Path(os.environ.get("HEADRACE_COMPONENTS", "build/components")).absolute()
ACCESS, SECRET = "integration-access", "integration-secret-never-shown"


class Gateway(Process):
    """versitygw over a directory; the top-level directories are buckets.

    certificate: (file, file of its key), to be spoken to by https.
    """

    def __init__(self, directory: Path, certificate=None):
        super().__init__(directory / "versitygw.log")
        self.root, self.sidecar = directory / "s3", directory / "sidecar"
        self.certificate = certificate
        (self.root / BUCKET).mkdir(parents=True)
        self.sidecar.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def start(self):
        binary = COMPONENTS / "bin" / "versitygw"
        assert binary.exists(), f"{binary} is missing: source .ci/components.sh and run install_versitygw"
        tls = ["--cert", self.certificate[0], "--key", self.certificate[1]] if self.certificate else []
        self.launch(
            [binary, "--port", f"127.0.0.1:{self.port}", "--access", ACCESS, "--secret", SECRET, "--quiet",
             *tls, "posix", "--sidecar", self.sidecar, self.root]
        )  # fmt: skip
        wait_for(self.listens, 30, "versitygw")
        return self

    def listens(self):
        assert self.process.poll() is None, self.output()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            verify=str(self.certificate[0]) if self.certificate else None,
        )

    def objects(self):
        """Keys and bytes, in the order of the time in their names."""
        client = self.client()
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", ()):
                found[item["Key"]] = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        client.close()
        return found
