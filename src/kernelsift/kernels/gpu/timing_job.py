"""The child that is timed: it holds the candidate, or the reference, never both.

It prepares itself, says `loaded`, then answers messages until there are none. A message is a wire
dict: `do` is `block` (side, seed, count, regime) or `show` (picks: which elements of the answers
of the last block). Each is answered by one frame with the job's nonce. What is timed could lie in
these frames; the parent's clock, and answers for inputs that nobody could know, bound what a lie
can gain.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels import wire
from kernelsift.kernels.candidate.candidate_job import import_file, job_from
from kernelsift.kernels.candidate.entry import find_entry
from kernelsift.kernels.gpu.blocks import run_block
from kernelsift.kernels.gpu.clock import CudaDevice, HostDevice, device_of
from kernelsift.kernels.gpu.recipe import Inputs, made_state
from kernelsift.kernels.gpu.subject import TorchSubject

if TYPE_CHECKING:
    from collections.abc import Callable

    Receive = Callable[[], bytes | None]
    Send = Callable[[bytes], None]
    Bind = Callable[[list[Any]], Callable[[], Any]]

MESSAGE = 400


def time_reference(payload: bytes, send: Send, receive: Receive) -> None:
    """The reference's child: also makes the recipes that both sides follow.

    Payload: nonce, code, class_name, seed, device, memory_bytes, unused (names and positions).
    """
    from kernelsift.kernels.gpu.reference_side import ReferenceSide

    raw = wire.decode(payload)
    warnings.simplefilter("ignore")
    device = device_of(raw["device"])

    def prepare() -> tuple[dict[str, Any], Server]:
        side = ReferenceSide(raw, device)
        inputs = side.inputs()
        server = Server(device, {"eager": side.eager, "empty": _empty(device)}, inputs)
        server.later["compiled"] = side.compiled
        return side.said(), server

    _serve(raw["nonce"], send, receive, prepare)


def time_candidate(payload: bytes, send: Send, receive: Receive) -> None:
    """The candidate's child.

    Payload: what a candidate job needs, and device, inputs (tree, recipes, count), weights
    (recipes), seed (of the weights), build_seed (for torch, before it is constructed).
    """
    raw = wire.decode(payload)
    warnings.simplefilter("ignore")
    device = device_of(raw["device"])
    given = raw["inputs"]
    inputs = Inputs(given["tree"], given["recipes"], given["count"], device.name)
    with tempfile.TemporaryDirectory(prefix="candidate-") as folder:
        source = Path(folder) / "candidate.py"
        source.write_text(raw["code"], encoding="utf-8", errors="surrogatepass")

        def prepare() -> tuple[dict[str, Any], Server]:
            call = _candidate(payload, raw, device, str(source))
            return {}, Server(device, {"candidate": call}, inputs)

        _serve(raw["nonce"], send, receive, prepare)


def _candidate(
    payload: bytes, raw: dict[str, Any], device: CudaDevice | HostDevice, source: str
) -> Bind:
    """Import and build the candidate; what it raises goes to the parent as it is."""
    from kernelsift.kernels.gpu.device_runner import DeviceRunner

    job = job_from(payload)
    job.state = made_state(raw["weights"], raw["seed"], device.name)
    entry, seen = find_entry(job.code, job.module_name, job.entry)
    if entry is None:
        raise LookupError(f"no entry among {seen}")
    options = {"device": device.name, "watch": False, "seed": raw["build_seed"]}
    runner = DeviceRunner(options, source)
    with torch.no_grad():
        module = import_file(source)
        runner.prepare(job, entry, getattr(module, entry.name))
    target = runner.target
    if isinstance(target, torch.nn.Module):
        target.eval()
    return lambda arguments: partial(runner.arguments(arguments, {}), target)


def _empty(device: CudaDevice | HostDevice) -> Bind:
    """The smallest operation there is: one launch on one number."""
    number = torch.zeros(1, device=device.name)
    return lambda _arguments: partial(number.add_, 1)


def _serve(
    nonce: str,
    send: Send,
    receive: Receive,
    prepare: Callable[[], tuple[dict[str, Any], Server]],
) -> None:
    def tell(event: str, **body: Any) -> None:
        send(wire.encode({"nonce": nonce, "event": event, **body}))

    try:
        said, server = prepare()
    except BaseException as error:  # noqa: BLE001  foreign code raises anything
        tell("trouble", why=_text(error))
        return
    tell("loaded", **said)
    while (message := receive()) is not None:
        try:
            tell("done", **server.answer(wire.decode(message)))
        except BaseException as error:  # noqa: BLE001  as above
            tell("trouble", why=_text(error))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MESSAGE]


class Server:
    """Answers messages about its sides."""

    def __init__(
        self, device: CudaDevice | HostDevice, sides: dict[str, Bind], inputs: Inputs
    ) -> None:
        """`sides`: how each makes its calls; all share the inputs."""
        self._device, self._inputs = device, inputs
        self._subjects = {name: TorchSubject(bind, inputs, device) for name, bind in sides.items()}
        self._last: TorchSubject | None = None
        self.later: dict[str, Callable[[], Bind]] = {}
        """Sides that take long to make: made when they are first asked for."""

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run a block, or show elements of its answers."""
        if message["do"] == "show":
            if self._last is None:
                raise LookupError("there is nothing to show")
            return {"samples": self._last.samples(message["picks"]), "layout": self._last.layout()}
        subject = self._subject(message["side"])
        self._last = subject
        with torch.no_grad():
            subject.begin(message["seed"])
            times = run_block(self._device, subject, message["count"], message["regime"])
        return {
            "events": times.events,
            "hosts": times.hosts,
            "walls": times.walls,
            "touches": times.touches,
            "plain": subject.plain,
        }

    def _subject(self, side: str) -> TorchSubject:
        if side not in self._subjects:
            self._subjects[side] = TorchSubject(self.later[side](), self._inputs, self._device)
        return self._subjects[side]
