"""A fake Hugging Face Hub on loopback, in a thread of its own: what an upload really calls.

    with FakeHub() as hub:
        ... HF_ENDPOINT=hub.endpoint HF_TOKEN=TOKEN HF_HUB_DISABLE_XET=1 ...
    hub.repos["user/name"].files, .commits, .private

Parquet files and pictures go by the LFS protocol (in parts where `part_size` is set), the others
inside the commit, as on the real Hub. A request with another token than TOKEN is answered with
401. Unknown paths are answered with 404 and noted in `unknown`.

Faults: `hub.cut["put"] = 2` breaks the connection at the next two requests of that step (the
steps are those of STEPS), `hub.cut["put"] = hub.ALWAYS` until it is set to 0. The step "answer"
is a commit that is made, and whose answer does not arrive. `hub.hold = n` lets the (n+1)-th LFS
file or part wait until `hub.go` is set.
"""

import asyncio
import base64
import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "hf_test_0123456789abcdefghijklmnop"
USER = "tester"
STEPS = ("whoami", "create", "info", "validate", "preupload", "batch", "put", "commit", "answer")
LARGE = (".parquet", ".png")


@dataclass
class Repo:
    """One data set on the fake Hub."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    """Operations of each commit, without contents."""


class FakeHub:
    """The server; a context manager."""

    ALWAYS = 1 << 30

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.calls: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.unknown: list[str] = []
        self.agents: set[str] = set()
        """User agents that came."""
        self.stored: dict[str, bytes] = {}
        """LFS files by their SHA-256."""
        self.received: list[str] = []
        """SHA-256 of each LFS file that has arrived whole, once per time that it was sent."""
        self.cut: Counter[str] = Counter()
        self.pass_first = 0
        """Files that are let through before `cut["put"]` counts."""
        self.meanwhile: dict[str, bytes] = {}
        """Files that someone else commits just before the next commit arrives."""
        self.hold: int | None = None
        self.held = threading.Event()
        """Set when a file waits."""
        self.go = threading.Event()
        self.part_size: int | None = None
        self.endpoint = ""
        self._parts: dict[str, dict[int, bytes]] = {}
        self._puts = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        assert self._ready.wait(10), "the fake Hub did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        asyncio.set_event_loop(None)

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        app = web.Application(client_max_size=1 << 28, middlewares=[self._noted])
        repo = "/api/datasets/{user}/{name}"
        add, get = app.router.add_post, app.router.add_get
        get("/api/whoami-v2", self._whoami, name="whoami")
        add("/api/repos/create", self._create, name="create")
        add("/api/validate-yaml", self._validate, name="validate")
        get(repo, self._info, name="info")
        get(repo + "/revision/{revision}", self._info)
        add(repo + "/preupload/{revision}", self._preupload, name="preupload")
        add("/datasets/{user}/{name}.git/info/lfs/objects/batch", self._batch, name="batch")
        app.router.add_put("/lfs/{oid}", self._put, name="put")
        app.router.add_put("/lfs/{oid}/{part}", self._put)
        add("/lfs/{oid}", self._complete)
        add(repo + "/commit/{revision}", self._commit, name="commit")
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    @web.middleware
    async def _noted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        self.agents.add(request.headers.get("User-Agent", ""))
        step = request.match_info.route.name or ""
        if self._cuts(step, request):
            return web.Response()
        known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not known and not request.path.startswith("/lfs/"):
            return _json({"error": "Invalid credentials"}, 401)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            self.unknown.append(f"{request.method} {request.path}")
            return _json({"error": "no such path"}, 404)

    def _cuts(self, step: str, request: web.Request) -> bool:
        if self.cut[step] <= 0:
            return False
        if step == "put" and self.pass_first:
            self.pass_first -= 1
            return False
        self.cut[step] -= 1
        assert request.transport
        request.transport.abort()
        return True

    async def _whoami(self, request: web.Request) -> web.Response:
        return _json({"type": "user", "name": USER, "fullname": "Test", "orgs": []})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"{body.get('organization') or USER}/{body['name']}"
        assert body["type"] == "dataset"
        if name in self.repos:
            url = {"url": f"{self.endpoint}/datasets/{name}"}
            return _json({"error": "You already created this dataset repo", **url}, 409)
        private = body.get("visibility") == "private" or body.get("private") is True
        self.repos[name] = Repo(private)
        return _json({"url": f"{self.endpoint}/datasets/{name}", "name": name, "id": name})

    async def _validate(self, request: web.Request) -> web.Response:
        body = await request.json()
        if "license: no-such-licence" in body["content"]:
            return _json({"errors": [{"message": '"license" must be one of […]'}]}, 400)
        return _json({"errors": [], "warnings": []})

    def _repo(self, request: web.Request) -> tuple[str, Repo]:
        name = f"{request.match_info['user']}/{request.match_info['name']}"
        if name not in self.repos:
            raise web.HTTPNotFound
        return name, self.repos[name]

    async def _info(self, request: web.Request) -> web.Response:
        name, repo = self._repo(request)
        siblings = [{"rfilename": path} for path in sorted(repo.files)]
        about = {"id": name, "private": repo.private, "sha": _sha(repo), "siblings": siblings}
        return _json({**about, "tags": [], "downloads": 0, "likes": 0})

    async def _preupload(self, request: web.Request) -> web.Response:
        _, repo = self._repo(request)
        out = []
        for one in (await request.json())["files"]:
            known, large = repo.files.get(one["path"]), one["path"].endswith(LARGE)
            oid = None if known is None else _sha256(known) if large else _git_sha(known)
            mode = "lfs" if large else "regular"
            out.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": out})

    async def _batch(self, request: web.Request) -> web.Response:
        objects = []
        for one in (await request.json())["objects"]:
            oid, href = one["oid"], f"{self.endpoint}/lfs/{one['oid']}"
            known = {"oid": oid, "size": one["size"]}
            if oid in self.stored:
                objects.append(known)
                continue
            header: dict[str, str] = {}
            if self.part_size:
                count = -(-one["size"] // self.part_size)
                header = {f"{n + 1:05d}": f"{href}/{n + 1}" for n in range(count)}
                header["chunk_size"] = str(self.part_size)
            objects.append({**known, "actions": {"upload": {"href": href, "header": header}}})
        return _json({"transfer": "multipart" if self.part_size else "basic", "objects": objects})

    async def _put(self, request: web.Request) -> web.Response:
        oid, part = request.match_info["oid"], int(request.match_info.get("part", 0))
        self._puts += 1
        if self.hold is not None and self._puts > self.hold:
            self.held.set()
            while not self.go.is_set():  # noqa: ASYNC110 - the event is a thread's
                await asyncio.sleep(0.01)
        data = await request.read()
        if part:
            self._parts.setdefault(oid, {})[part] = data
        else:
            self._store(oid, data)
        return web.Response(headers={"ETag": hashlib.md5(data).hexdigest()})

    async def _complete(self, request: web.Request) -> web.Response:
        oid = request.match_info["oid"]
        parts = self._parts.pop(oid)
        self._store(oid, b"".join(parts[n] for n in sorted(parts)))
        return _json({})

    def _store(self, oid: str, data: bytes) -> None:
        assert _sha256(data) == oid
        self.received.append(oid)
        self.stored[oid] = data

    async def _commit(self, request: web.Request) -> web.StreamResponse:
        name, repo = self._repo(request)
        lines = [json.loads(line) for line in (await request.read()).splitlines()]
        if self.meanwhile:
            repo.files |= self.meanwhile
            repo.commits.append([])
            self.meanwhile = {}
        header = lines.pop(0)
        assert header["key"] == "header"
        if header["value"].get("parentCommit", _sha(repo)) != _sha(repo):
            return _json({"error": "A commit has happened since. Please refresh"}, 412)
        for operation in lines:
            value, key = operation["value"], operation["key"]
            if key == "file":
                assert value["encoding"] == "base64"
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                repo.files[value["path"]] = self.stored[value["oid"]]
            else:
                assert key == "deletedFile", key
                del repo.files[value["path"]]
        repo.commits.append([{"key": o["key"], "path": o["value"]["path"]} for o in lines])
        if self._cuts("answer", request):
            return web.Response()
        url = f"{self.endpoint}/datasets/{name}/commit/{_sha(repo)}"
        return _json({"success": True, "commitOid": _sha(repo), "commitUrl": url, "hookOutput": ""})


def _sha(repo: Repo) -> str:
    return f"{len(repo.commits):040x}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha(data: bytes) -> str:
    """The id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    headers = {} if status < 400 else {"X-Error-Message": str(body.get("error", "refused"))}
    return web.json_response(body, status=status, headers=headers)
