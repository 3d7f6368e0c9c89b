# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: an object that a put says it wrote is in a real S3 server, whole and under its own name; one whose put
failed is not there, and can be put again. Method: the destination itself against versitygw, which checks
signatures and checksums, and which is killed in the middle; every object is read back by boto3."""

import hashlib
import random
import subprocess
import threading
import time

import pytest
from serving import BUCKET
from versitygw import ACCESS, SECRET, Gateway

from headrace.errors import DeliveryError
from headrace.firehose.destinations.s3 import SINGLE_SIZE, S3Destination, S3Settings

pytestmark = pytest.mark.integration

MIB = 1 << 20


def destination(gateway, **members):
    standard = {
        "bucket": BUCKET,
        "path": "",
        "endpoint": gateway.url,
        "region": "us-east-1",
        "access_key_id": ACCESS,
        "secret_access_key": SECRET,
    }
    return S3Destination(S3Settings(**(standard | members)))


def chunks(size, seed=0):
    """`size` bytes in pieces of uneven sizes, and the same each time."""
    chance = random.Random(seed)
    while size:
        piece = min(size, chance.randrange(1, 2 * MIB))
        yield chance.randbytes(piece)
        size -= piece


@pytest.mark.parametrize(
    "size", [0, 1, SINGLE_SIZE - 1, SINGLE_SIZE, SINGLE_SIZE + 1, 2 * SINGLE_SIZE, 5 * SINGLE_SIZE + 12_345]
)
def test_objects_of_every_size_come_back_as_they_were(gateway, size):
    target = destination(gateway)
    assert not target.exists("a/x")
    assert target.put("a/x", chunks(size)) == size
    assert target.exists("a/x")
    assert gateway.objects() == {"a/x": b"".join(chunks(size))}


def test_large_objects_go_up_in_parts(gateway):
    destination(gateway).put("a/x", chunks(5 * SINGLE_SIZE))
    client = gateway.client()
    tag = client.head_object(Bucket=BUCKET, Key="a/x")["ETag"]
    assert tag.endswith('-5"'), tag
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    client.close()


@pytest.mark.parametrize("path", ["", "raw", "raw/deep er/#1"])
def test_names_are_kept_to_the_letter(gateway, path):
    target = destination(gateway, path=path)
    names = ["plain", "a b/c d", "a#b", "p%41", "p%2Fq", "tilde~", "star*", "ünï-日本", "q?x=1&y", "plus+plus",
             "{a}[b]", "back\\slash", 'quo"te', "<lt>", "a|b^c`d", "'(!)&$@=;:,-_.", "a=1/b=2/x.gz"]  # fmt: skip
    for name in names:
        target.put(name, iter([name.encode()]))
        assert target.exists(name), name
        assert not target.exists(name + "-"), name
    head = f"{path}/" if path else ""
    assert gateway.objects() == {head + name: name.encode() for name in names}


def test_a_put_of_the_same_name_replaces_the_object(gateway):
    target = destination(gateway)
    target.put("a/x", chunks(2 * SINGLE_SIZE))
    target.put("a/x", iter([b"new"]))
    assert gateway.objects() == {"a/x": b"new"}


def test_a_check_leaves_nothing_behind(gateway):
    destination(gateway, path="raw").check("2026/a/x")
    assert gateway.objects() == {}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"secret_access_key": "wrong-secret"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "wrong-key"}, "No user exists with the provided access key"),
        ({"session_token": "wrong-token"}, "InvalidToken"),
        ({"bucket": "nowhere"}, "NoSuchBucket"),
    ],
)
def test_what_the_store_refuses_is_told_in_its_words_at_the_check_and_at_the_put(gateway, members, code):
    target = destination(gateway, **members)
    for call in (
        lambda: target.check("a/x"),
        lambda: target.put("a/x", iter([b"x"])),
        lambda: target.put("a/x", chunks(2 * SINGLE_SIZE)),
    ):
        with pytest.raises(DeliveryError, match=code) as caught:
            call()
        assert not any(secret in str(caught.value) for secret in (SECRET, ACCESS, "wrong-"))
    assert gateway.objects() == {}


def test_a_store_that_is_down_is_told_at_once_and_used_again_when_it_is_back(gateway):
    target = destination(gateway)
    target.put("a/x", iter([b"x"]))
    gateway.kill()
    for call in (
        lambda: target.check("a/y"),
        lambda: target.exists("a/x"),
        lambda: target.put("a/y", iter([b"y"])),
        lambda: target.put("a/y", chunks(2 * SINGLE_SIZE)),
    ):
        start = time.monotonic()
        with pytest.raises(DeliveryError, match=r"cannot (write|look)"):
            call()
        assert time.monotonic() - start < 5
    gateway.start()
    target.put("a/y", iter([b"y"]))
    assert target.exists("a/x")
    assert gateway.objects() == {"a/x": b"x", "a/y": b"y"}


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_store_that_is_killed_between_parts_has_no_object_and_takes_it_whole_again(gateway, parts):
    target = destination(gateway)
    size = 5 * SINGLE_SIZE

    def killing():
        sent = 0
        for chunk in chunks(size):
            if gateway.process.poll() is None and sent >= parts * SINGLE_SIZE + SINGLE_SIZE // 2:
                gateway.kill()
            sent += len(chunk)
            yield chunk

    with pytest.raises(DeliveryError, match="cannot write a/x"):
        target.put("a/x", killing())
    gateway.start()
    assert gateway.objects() == {}
    assert not target.exists("a/x")
    assert target.put("a/x", chunks(size)) == size
    assert target.exists("a/x")
    assert gateway.objects() == {"a/x": b"".join(chunks(size))}


def test_a_store_that_is_killed_at_any_moment_has_the_whole_object_or_none(gateway):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    size = 3 * SINGLE_SIZE
    body = b"".join(chunks(size))
    digest = hashlib.sha256(body).digest()
    start = time.monotonic()
    destination(gateway).put("a/first", iter([body]))
    duration = time.monotonic() - start
    confirmed = there = 0
    for number in range(12):
        target = destination(gateway)
        key = f"a/{number}"
        killer = threading.Timer(chance.uniform(0, 2 * duration), gateway.kill)
        killer.start()
        try:
            target.put(key, (body[at : at + MIB] for at in range(0, size, MIB)))
            told = True
        except DeliveryError:
            told = False
        killer.join()
        gateway.start()
        found = target.exists(key)
        confirmed, there = confirmed + told, there + found
        assert found or not told, f"{key} was confirmed and is not there"
        if not found:
            target.put(key, iter([body]))
    print(f"{confirmed} confirmed, {there} there after the kill")
    objects = gateway.objects()
    assert set(objects) == {"a/first", *(f"a/{number}" for number in range(12))}
    assert {hashlib.sha256(data).digest() for data in objects.values()} == {digest}


def test_a_payload_that_fails_leaves_no_object(gateway):
    target = destination(gateway)

    def failing(size):
        yield from chunks(size)
        raise DeliveryError("the log is damaged")

    for size in (10, 2 * SINGLE_SIZE):
        with pytest.raises(DeliveryError, match=r"^the log is damaged$"):
            target.put("a/x", failing(size))
        assert not target.exists("a/x")
    assert gateway.objects() == {}


def test_a_destination_is_used_by_several_threads_at_once(gateway):
    target = destination(gateway)
    failures = []

    def work(number):
        try:
            for turn in range(4):
                target.put(f"{number}/{turn}", chunks(SINGLE_SIZE + number, seed=number))
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    objects = gateway.objects()
    assert len(objects) == 16
    for number in range(4):
        want = b"".join(chunks(SINGLE_SIZE + number, seed=number))
        assert all(objects[f"{number}/{turn}"] == want for turn in range(4))


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that nobody signed but itself, and its key."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=headrace test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
         "basicConstraints=critical,CA:FALSE", "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return files


def test_https_asks_for_a_certificate_that_is_trusted(tmp_path, certificate, monkeypatch):
    gateway = Gateway(tmp_path, certificate).start()
    try:
        target = destination(gateway)
        for call in (
            lambda: target.check("a/x"),
            lambda: target.exists("a/x"),
            lambda: target.put("a/x", iter([b"x"])),
        ):
            with pytest.raises(DeliveryError, match=r"(?i)certificate"):
                call()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        target = destination(gateway)
        target.check("a/x")
        target.put("a/x", chunks(2 * SINGLE_SIZE))
        assert target.exists("a/x")
        assert gateway.objects() == {"a/x": b"".join(chunks(2 * SINGLE_SIZE))}
    finally:
        gateway.kill()
