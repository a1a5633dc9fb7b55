"""A fake Hugging Face Hub on loopback, in a thread of its own: what an upload really calls.

    with FakeHub() as hub:
        ... HF_ENDPOINT=hub.endpoint HF_TOKEN=TOKEN ...
    hub.repos["user/name"].files, .commits, .private

Files are taken as "regular" ones, inside the commit, so that no other storage is needed. A request
with another token than TOKEN is answered with 401. Unknown paths are answered with 404 and noted
in `unknown`.
"""

import asyncio
import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "hf_test_0123456789abcdefghijklmnop"
USER = "tester"


@dataclass
class Repo:
    """One data set on the fake Hub."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    """Operations of each commit, without contents."""


class FakeHub:
    """The server; a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.calls: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.unknown: list[str] = []
        self.agents: set[str] = set()
        """User agents that came."""
        self.endpoint = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        assert self._ready.wait(10), "the fake Hub did not start"
        return self

    def __exit__(self, *_: object) -> None:
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
        app.router.add_get("/api/whoami-v2", self._whoami)
        app.router.add_post("/api/repos/create", self._create)
        app.router.add_post("/api/validate-yaml", self._validate)
        app.router.add_get(repo, self._info)
        app.router.add_get(repo + "/revision/{revision}", self._info)
        app.router.add_post(repo + "/preupload/{revision}", self._preupload)
        app.router.add_post(repo + "/commit/{revision}", self._commit)
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
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _json({"error": "Invalid credentials"}, 401)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            self.unknown.append(f"{request.method} {request.path}")
            return _json({"error": "no such path"}, 404)

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
        files = (await request.json())["files"]
        same = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
        return _json({"files": [{"path": one["path"], **same} for one in files]})

    async def _commit(self, request: web.Request) -> web.Response:
        name, repo = self._repo(request)
        noted = []
        for line in (await request.read()).splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del repo.files[value["path"]]
            else:
                assert operation["key"] == "header", operation["key"]
            noted.append({"key": operation["key"], "path": value.get("path")})
        repo.commits.append(noted)
        url = f"{self.endpoint}/datasets/{name}/commit/{_sha(repo)}"
        return _json({"success": True, "commitOid": _sha(repo), "commitUrl": url, "hookOutput": ""})


def _sha(repo: Repo) -> str:
    return f"{len(repo.commits):040x}"


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    headers = {} if status < 400 else {"X-Error-Message": str(body.get("error", "refused"))}
    return web.json_response(body, status=status, headers=headers)
