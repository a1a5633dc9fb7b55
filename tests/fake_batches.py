"""The fake service with files and batches, and with everything that can go wrong there.

    with FakeBatches(answer, expire_after=3) as server:
        ... server.billed, server.batches, server.calls ...

`answer` says what becomes of each request, as for `FakeOpenAI`; what is no success goes into the
error file. `billed` counts per custom id how often a request of a batch was answered.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fake_openai import Behaviour, FakeOpenAI, Script, ok

Lines = list[dict[str, Any]]


def nothing_wrong(what: str, number: int) -> str | None:
    """No fault."""


class FakeBatches(FakeOpenAI):
    """A service with a batch API."""

    def __init__(
        self,
        answer: Script = "hello",
        *,
        looks: int = 1,
        expire_after: int | None = None,
        invalid: str | None = None,
        fault: Callable[[str, int], str | None] = nothing_wrong,
        shape: Callable[[Lines, Lines], tuple[Lines, Lines]] = lambda out, bad: (out, bad),
        cut: int = 0,
        metadata: bool = True,
        **more: Any,
    ) -> None:
        """Set the behaviour.

        Args:
            answer: See the module.
            looks: How often a batch is looked at before it has ended.
            expire_after: Requests that are answered before a batch expires; None: all.
            invalid: Why every batch's file is refused; None: it is not.
            fault: What goes wrong with the n-th (from 1) call of a kind (`upload`, `create`,
                `list`, `get`, `content`, `cancel`): a status like `500`, `reset` (nothing is done),
                `reset-after` and `hang-after` (it is done, and no answer comes).
            shape: Changes the lines of the output and the error file.
            cut: How many downloads end in the middle of a line, without a word.
            metadata: Whether batches keep what was said of them.
            more: For `FakeOpenAI`.
        """
        super().__init__(answer, **more)
        self.looks = looks
        self.expire_after = expire_after
        self.invalid = invalid
        self.fault = fault
        self.shape = shape
        self.cut = cut
        self.keeps_metadata = metadata
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.billed: Counter[str] = Counter()
        self.lines: list[dict[str, Any]] = []
        """Every request that came in a file of a batch."""

    def finish(self) -> None:
        """Work on every batch that is under way, as a service does whether one looks or not."""
        for batch in self.batches.values():
            if batch["status"] in {"validating", "in_progress"}:
                self._work(batch)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/files", self._faulty("upload", self._upload))
        app.router.add_get("/v1/files/{id}/content", self._faulty("content", self._content))
        app.router.add_post("/v1/batches", self._faulty("create", self._create))
        app.router.add_get("/v1/batches", self._faulty("list", self._list))
        app.router.add_get("/v1/batches/{id}", self._faulty("get", self._get))
        app.router.add_post("/v1/batches/{id}/cancel", self._faulty("cancel", self._cancel))

    def _faulty(self, what: str, do: Callable[[web.Request], Any]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.calls.append(what)
            wrong = self.fault(what, self.calls.count(what))
            if wrong == "reset":
                request.transport.abort()
                return web.Response()
            if wrong is not None and wrong.isdigit():
                said = {"error": {"message": f"{what} does not work", "code": None}}
                return web.json_response(said, status=int(wrong))
            answer: web.Response = await do(request)
            if wrong == "reset-after":
                request.transport.abort()
            elif wrong == "hang-after":
                await self._over.wait()
            return answer

        return handle

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        upload = form["file"]
        id_ = f"file-{len(self.files) + 1}"
        self.files[id_] = (upload.filename, upload.file.read())
        return web.json_response({"id": id_, "object": "file", "filename": upload.filename})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        if body["input_file_id"] not in self.files:
            return web.json_response({"error": {"message": "no such file"}}, status=404)
        content = self.files[body["input_file_id"]][1]
        lines = [json.loads(line) for line in content.splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        self.lines += lines
        id_ = f"batch_{len(self.batches) + 1}"
        self.batches[id_] = {
            "id": id_,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "metadata": body.get("metadata") if self.keeps_metadata else None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "looks": 0,
        }
        return web.json_response(self.batches[id_], status=201)

    async def _list(self, request: web.Request) -> web.Response:
        """Two a page, the newest first."""
        listed = list(self.batches.values())[::-1]
        after = request.query.get("after")
        start = next((n + 1 for n, b in enumerate(listed) if b["id"] == after), 0)
        page = listed[start : start + 2]
        more = start + 2 < len(listed)
        return web.json_response({"object": "list", "data": page, "has_more": more})

    async def _get(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        batch["looks"] += 1
        if batch["status"] == "cancelling":
            self._end(batch, 1, "cancelled")
        elif batch["status"] in {"validating", "in_progress"}:
            batch["status"] = "in_progress"
            if batch["looks"] > self.looks:
                self._work(batch)
        return web.json_response(batch)

    def _work(self, batch: dict[str, Any]) -> None:
        if self.invalid is not None:
            batch["status"] = "failed"
            batch["errors"] = {"data": [{"code": "x", "message": self.invalid, "line": 1}]}
        elif self.expire_after is not None:
            self._end(batch, self.expire_after, "expired")
        else:
            self._end(batch, 10**9, "completed")

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        if batch["status"] in {"validating", "in_progress"}:
            batch["status"] = "cancelling"
        return web.json_response(batch)

    async def _content(self, request: web.Request) -> web.Response:
        content = self.files[request.match_info["id"]][1]
        if self.cut:
            self.cut -= 1
            content = content[: len(content) * 2 // 3]
        return web.Response(body=content, content_type="application/octet-stream")

    def _end(self, batch: dict[str, Any], answered: int, status: str) -> None:
        """Answer requests, write the files."""
        content = self.files[batch["input_file_id"]][1]
        asked = [json.loads(line) for line in content.splitlines()]
        results = [self._result(one) for one in asked[:answered]]
        good = [one for one in results if one["response"]["status_code"] == 200]
        bad = [one for one in results if one["response"]["status_code"] != 200]
        for one in good:
            self.billed[one["custom_id"]] += 1
        counts = batch["request_counts"]
        counts["completed"], counts["failed"] = len(good), len(bad)
        why = {"code": f"batch_{status}", "message": f"This batch has {status}."}
        bad += [
            {"id": "r", "custom_id": one["custom_id"], "response": None, "error": why}
            for one in asked[answered:]
        ]
        for name, lines in zip(("output", "error"), self.shape(good[::-1], bad), strict=True):
            if lines:
                id_ = f"file-{len(self.files) + 1}"
                text = "".join(json.dumps(line) + "\n" for line in lines)
                self.files[id_] = (f"{name}.jsonl", text.encode())
                batch[f"{name}_file_id"] = id_
        batch["status"] = status

    def _result(self, asked: dict[str, Any]) -> dict[str, Any]:
        behaviour = self.pick(asked["body"], len(self.billed))
        if not isinstance(behaviour, Behaviour):
            behaviour = ok(behaviour)
        body = json.loads(behaviour.body.replace("{model}", asked["body"]["model"]))
        response = {"status_code": behaviour.status, "request_id": "r", "body": body}
        return {"id": "r", "custom_id": asked["custom_id"], "response": response, "error": None}
