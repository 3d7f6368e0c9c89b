# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace status`: up or down, for scripts that wait."""

from __future__ import annotations

import json
import socket


def test_status_tells_up_from_down_and_waits(headrace):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    code, _, err = headrace.run("status", "--endpoint", url)
    assert code == 4 and "headrace serve" in err and err.count("\n") == 1
    waiting = headrace.start("status", "--endpoint", url, "--wait", "20", "-o", "json")
    server = headrace.start("serve", "--ephemeral", "--bind", f"127.0.0.1:{port}")
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 0 and json.loads(out)["status"] == "ok"
    headrace.stop(server)
    assert headrace.run("status", "--endpoint", "nowhere")[0] == 2
    assert headrace.run("status", "--wait", "-1")[0] == 2


def test_status_is_not_fooled_by_other_servers(headrace):
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = headrace.start("status", "--endpoint", f"http://127.0.0.1:{other.getsockname()[1]}")
        connection, _ = other.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        connection.close()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 4 and "is not headrace" in err
