"""A stand-in for the Hugging Face hub: real HTTP on 127.0.0.1, what `huggingface_hub` needs to publish, no more.

with Hub() as hub:                      # answers only to the token TOKEN
    hub.repos["datasets/ada/chains"]    # Repo(private=True, files={"README.md": b"..."})
    hub.breaks_at = "/commit/"          # closes the connection in the middle of such a request
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_stand_in_token_that_nobody_may_see"
OWNER = "ada"


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


class Hub:
    """The server, on a port of its own. Use as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[str] = []
        self.breaks_at: str | None = None
        self.refuses: tuple[int, str] | None = None
        self._objects: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._take()

            def do_POST(self) -> None:
                self._take()

            def do_PUT(self) -> None:
                self._take()

            def _take(self) -> None:
                path = urlsplit(self.path).path
                hub.asked.append(f"{self.command} {path}")
                length = int(self.headers.get("Content-Length") or 0)
                if hub.breaks_at is not None and hub.breaks_at in path:
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.close()
                    return
                raw = self.rfile.read(length) or self._chunks()
                if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/objects/"):
                    self._answer(401, {"error": "Invalid credentials in Authorization header"})
                elif hub.refuses is not None and self.command != "GET":
                    self._answer(hub.refuses[0], {"error": hub.refuses[1]})
                else:
                    self._answer(*hub._answer(self.command, path, raw))

            def _chunks(self) -> bytes:
                """A body of unknown length, as large files are sent."""
                raw = b""
                while self.headers.get("Transfer-Encoding") == "chunked":
                    size = int(self.rfile.readline(), 16)
                    raw += self.rfile.read(size)
                    self.rfile.readline()
                    if size == 0:
                        break
                return raw

            def _answer(self, status: int, body: object) -> None:
                raw = json.dumps(body).encode()
                self.send_response(status)
                if isinstance(body, dict) and body.get("error") == "Repository not found":
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, command: str, path: str, raw: bytes) -> tuple[int, Any]:  # noqa: PLR0911
        if path == "/api/repos/create":
            return self._create(json.loads(raw))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/objects/" in path:
            return 200, self._large(path, raw)
        found = re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)(?:/(preupload|commit|tree|revision)/main)?", path)
        assert found is not None, f"the stand-in knows no {command} {path}"
        name, what = found[1], found[2]
        if name not in self.repos:
            return 404, {"error": "Repository not found"}
        repo = self.repos[name]
        if what == "preupload":
            return 200, {"files": [_mode(file["path"]) for file in json.loads(raw)["files"]]}
        if what == "commit":
            return self._commit(name, repo, [json.loads(line) for line in raw.splitlines()])
        if what == "tree":
            return 200, [{"type": "file", "path": file, "size": 1, "oid": "0" * 40} for file in repo.files]
        short = name.partition("/")[2]
        siblings = [{"rfilename": file} for file in repo.files]
        return 200, {"_id": "1", "id": short, "private": repo.private, "sha": "0" * 40, "siblings": siblings}

    def _large(self, path: str, raw: bytes) -> dict[str, Any]:
        """Where large files go, or one of them."""
        if not path.endswith("/info/lfs/objects/batch"):
            self._objects[path.removeprefix("/objects/")] = raw
            return {}
        wanted = json.loads(raw)["objects"]
        action = {one["oid"]: {"upload": {"href": f"{self.url}/objects/{one['oid']}"}} for one in wanted}
        return {"transfer": "basic", "objects": [{**one, "actions": action[one["oid"]]} for one in wanted]}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
        if asked["organization"] != OWNER:
            return 403, {"error": f"You don't have the rights to create a repo under '{asked['organization']}'"}
        if name in self.repos:
            return 409, {"error": "You already created this repo"}
        self.repos[name] = Repo(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.url}/{name.removeprefix('models/')}"}

    def _commit(self, name: str, repo: Repo, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                held = self._objects[value["oid"]]
                assert hashlib.sha256(held).hexdigest() == value["oid"] and len(held) == value["size"]
                repo.files[value["path"]] = held
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
        where = f"{self.url}/{name.removeprefix('models/')}/commit/{'0' * 40}"
        return 200, {"commitUrl": where, "commitOid": "0" * 40, "success": True}


def _mode(path: str) -> dict[str, object]:
    large = path.endswith((".parquet", ".safetensors"))
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
