"""Catalogue, rows 113 to 115: models from the hub, cut short, changed or out of reach.

The hub is a server on 127.0.0.1 which answers as the real one does; simsearch runs in a process
of its own, because a hub client reads its settings when it is first imported.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PREFIX, Outcome
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder

NAME = "acme/tiny"
WEIGHTS = "model.safetensors"
# The hub keeps large files apart; which are large is told here by their names.
LARGE = (".safetensors", ".bin")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class FakeHub:
    """One model in one version; `requests` are those that were made, as METHOD PATH.

    `send_weights` may send the weights in another way than the hub.
    """

    files: dict[str, bytes]
    requests: list[str] = field(default_factory=list)
    send_weights: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None

    @property
    def commit(self) -> str:
        listing = json.dumps({name: sha256(self.files[name]) for name in sorted(self.files)})
        return hashlib.sha1(listing.encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        return {
            "_id": "0",
            "id": NAME,
            "modelId": NAME,
            "sha": self.commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": name} for name in self.files],
        }

    def tree(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for name, content in self.files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if name.endswith(LARGE):
                lfs = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                entry |= {"lfs": lfs}
            entries.append(entry)
        return entries

    def asked_for(self, ending: str) -> list[str]:
        return [request for request in self.requests if request.endswith(ending)]


class HubHandler(BaseHTTPRequestHandler):
    """The addresses of the hub that its client asks when it fetches a snapshot."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def __init__(self, *arguments: Any, hub: FakeHub) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        api, files = f"/api/models/{NAME}", f"/{NAME}/resolve/{self.hub.commit}/"
        if path == f"{api}/revision/main":
            self._send(json.dumps(self.hub.about()).encode())
        elif path == f"{api}/tree/{self.hub.commit}":
            self._send(json.dumps(self.hub.tree()).encode())
        elif path.startswith(files) and path.removeprefix(files) in self.hub.files:
            self._send_file(path.removeprefix(files))
        else:
            self._send(b"", status=404, X_Error_Code="RepoNotFound")

    def _send(self, content: bytes, *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _send_file(self, name: str) -> None:
        content = self.hub.files[name]
        headers = {"X_Repo_Commit": self.hub.commit, "ETag": f'"{git_sha1(content)}"'}
        if name.endswith(LARGE):
            headers |= {"X_Linked_Etag": f'"{sha256(content)}"', "X_Linked_Size": str(len(content))}
        if name == WEIGHTS and self.command == "GET" and self.hub.send_weights is not None:
            self.hub.send_weights(self, content)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], status=206 if start else 200, **headers)


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve the hub, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(HubHandler, hub=hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
