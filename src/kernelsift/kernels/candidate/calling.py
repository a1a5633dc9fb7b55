"""Build one candidate and call it: on cases, and a second time in ways that show a cheat.

What is particular to where it runs (CPU with the interpreter, or a GPU) is in the methods that a
subclass replaces: `active`, `native`, `reset`, `set_options`, `digest`, `copied`, `facts`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels import wire
from kernelsift.kernels.candidate.entry import Entry, construct, match_weights
from kernelsift.kernels.candidate.failure import describe_error
from kernelsift.kernels.candidate.function_call import match_arguments, offer_of, paired
from kernelsift.kernels.candidate.inductor_call import leading, match_call, wanted_arguments
from kernelsift.kernels.candidate.provenance import tensors_in
from kernelsift.kernels.candidate.tamper import Snapshot
from kernelsift.kernels.fingerprints import Weight, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_CALLS = 12


class Caller:
    """One candidate in this process."""

    broken: str | None = None
    """Why nothing can be run here."""

    def __init__(self, source: str, seed: int) -> None:
        """`source`: the candidate's file; `seed`: for torch's random numbers before each call."""
        self.source = source
        self.seed = seed
        self.untouched: Snapshot
        self.dropped: list[str] = []
        self.weight_map: dict[str, tuple[str, str]] = {}
        self.unmatched: list[str] = []
        self.construct_ops: dict[str, Any] = {}

    # what a subclass replaces

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """The candidate's surroundings while it is built or called."""
        yield

    @contextlib.contextmanager
    def native(self) -> Iterator[None]:
        """Around our own bookkeeping."""
        yield

    def reset(self) -> None:
        """Forget what the last call did."""

    def operators(self) -> dict[str, Any]:
        """The torch operators of the last call, by name."""
        return {}

    def digest(self, value: Any) -> bytes:
        """A digest of the bytes of every tensor in a value."""
        raise NotImplementedError

    def copied(self, value: Any) -> Any:
        """A deep copy of an input; tensors keep their strides and get memory of their own."""
        raise NotImplementedError

    def facts(self, output: Any, inputs: list[Any]) -> dict[str, Any]:
        """What was recorded about the last call; a subclass adds to it."""
        given = {_storage(value) for value in tensors_in(inputs)}
        outputs = list(tensors_in(output))
        return {
            "torch_ops": self.operators(),
            "output_types": [type_name(value) for value in outputs],
            "output_is_input": [_storage(value) in given for value in outputs],
            "threads": threading.active_count(),
            "tampered": [*self.untouched.changed(), *self.untouched.lowered()],
        }

    @contextlib.contextmanager
    def options(self, _step: dict[str, Any]) -> Iterator[None]:
        """The options of a step, in force inside."""
        yield

    def repeat(self, target: Any, case: dict[str, Any], calls: int) -> None:
        """Many calls whose answers do not matter."""
        for _ in range(calls):
            with contextlib.suppress(Exception):
                self.call(target, case, self.fresh_inputs(case))

    # building

    def prepare(self, job: Any, entry: Entry, found: Any) -> None:
        """Build the entry with the job's init values and weights.

        NoMatchError where a function's arguments cannot be told.
        """
        self.entry, self.found, self.job = entry, found, job
        self.cases = {case["name"]: case for case in job.cases}
        if entry.kind == "call":
            self.wanted = wanted_arguments(job.code)
            for case in job.cases[:1]:
                self.weight_map = self.listed(case["inputs"])[1]
        elif entry.kind == "function":
            for case in job.cases[:1]:
                offer = offer_of(job, case["inputs"], case.get("kwargs") or {})
                self.weight_map = match_arguments(found, offer)[1]
        self.target = self.build()

    def build(self, case: dict[str, Any] | None = None) -> Any:
        """A new instance (or the function itself) with the weights of the case or the job."""
        if self.entry.kind != "class":
            return self.found
        init = (case or {}).get("init") or self.job.init
        self.seed_all()
        self.reset()
        with self.active():
            target, self.dropped = construct(self.found, init["args"], init["kwargs"])
        self.construct_ops = self.operators()
        target = self.placed(target)
        self.map_weights(target, case)
        if not (case or {}).get("initial"):
            self.load_weights(target, case)
        return target

    def placed(self, target: Any) -> Any:
        """The instance where it is to run."""
        return target

    def seed_all(self) -> None:
        """Make random numbers of torch repeatable."""
        with self.native():
            torch.manual_seed(self.seed)

    def load_weights(self, target: Any, case: dict[str, Any] | None) -> None:
        """Copy the given weights into a module; nothing for anything else."""
        if not isinstance(target, torch.nn.Module):
            return
        given = (case or {}).get("state") or self.job.state
        with self.native(), torch.no_grad():
            own = _tensors(target)
            for name, (origin, how) in self.weight_map.items():
                if name in own:
                    new = given[origin].t() if how == "turned" else given[origin]
                    own[name].copy_(new.reshape(own[name].shape))
            self.load_hidden(target, given)

    def map_weights(self, target: Any, case: dict[str, Any] | None) -> None:
        """Find out which given weight belongs where; the values are still the initial ones."""
        if not isinstance(target, torch.nn.Module) or self.job.outline:
            return
        given = (case or {}).get("state") or self.job.state
        with self.native():
            own = {name: weight(value) for name, value in _tensors(target).items()}
            prints = self.job.initial
            offered = {
                name: Weight(tuple(value.shape), *prints.get(name, (None, None)))
                for name, value in given.items()
            }
            self.weight_map = match_weights(own, offered)
            self.unmatched = [name for name in own if name not in self.weight_map]

    @property
    def sure(self) -> bool:
        """Whether names or values say which weight is which; shapes and order may mislead."""
        kinds = {how for _, how in self.weight_map.values()}
        return not self.unmatched and kinds <= {"name", "value", "turned"}

    def load_hidden(self, target: Any, given: dict[str, Any]) -> None:
        """Set plain tensor attributes that carry a name and shape of the reference's state."""
        for prefix, owner in target.named_modules():
            for name, value in list(vars(owner).items()):
                full = f"{prefix}.{name}".lstrip(".")
                new = given.get(full)
                if isinstance(value, torch.Tensor) and new is not None and new.shape == value.shape:
                    setattr(owner, name, new.clone().to(value.dtype))
                    self.weight_map[full] = (full, "name")

    def built_facts(self) -> dict[str, Any]:
        """How the candidate was built and where its weights came from."""
        used = {origin for origin, _ in self.weight_map.values()}
        return {
            "dropped_arguments": self.dropped,
            "weight_map": {name: list(pair) for name, pair in self.weight_map.items()},
            "unmatched_weights": self.unmatched,
            "unused_weights": [name for name in self.job.state if name not in used],
            "construct_ops": self.construct_ops,
        }

    # one call

    def arguments(self, inputs: list[Any], kwargs: dict[str, Any]) -> Callable[[Any], Any]:
        """The call itself, with functions' arguments matched by name and order."""
        if self.entry.kind == "class":
            return lambda target: target(*inputs, **kwargs)
        if self.entry.kind == "call":
            values, _ = self.listed(inputs)
            return lambda target: leading(target(values), self.job.names.get("outputs"))
        bound, _ = match_arguments(self.found, offer_of(self.job, inputs, kwargs))
        return lambda target: target(*bound.args, **bound.kwargs)

    def listed(self, inputs: list[Any]) -> tuple[list[Any], dict[str, tuple[str, str]]]:
        """The list for TorchInductor's `call(args)`, and where each argument comes from."""
        offered = paired(self.job.names.get("inputs"), inputs)
        return match_call(self.wanted, offered, self.job.state)

    def call(self, target: Any, case: dict[str, Any], inputs: list[Any]) -> Any:
        """One forward call in the case's mode."""
        if isinstance(target, torch.nn.Module):
            target.train(bool(case.get("train", False)))
        self.seed_all()
        perform = self.arguments(inputs, case.get("kwargs") or {})
        with torch.set_grad_enabled(bool(case.get("grad", False))), self.active():
            return perform(target)

    def fresh_inputs(self, case: dict[str, Any]) -> list[Any]:
        """New tensors with the case's values and strides."""
        return [self.copied(value) for value in case["inputs"]]

    def measured(self, target: Any, case: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
        """One call as a frame: output or error, what it did to inputs and state, facts."""
        self.reset()
        before = [self.digest(value) for value in inputs]
        state = self.state_digests(target)
        started = time.perf_counter()
        body: dict[str, Any] = {}
        try:
            output = self.call(target, case, inputs)
            body["output"] = self.sendable(output)
        except BaseException as error:  # noqa: BLE001  the candidate may raise anything, also SystemExit
            output = None
            body["error"] = describe_error(error, self.source)
        seconds = time.perf_counter() - started
        with self.native():
            body["inputs_changed"] = [
                old != self.digest(value) for old, value in zip(before, inputs, strict=True)
            ]
            body["state_after"] = self.changed_state(target, state)
            body["facts"] = self.facts(output, inputs) | {"seconds": seconds}
        return body

    def sendable(self, value: Any) -> Any:
        """An output as a tree that the wire can carry; anything else becomes its type's name."""
        with self.native():
            return _sendable(value)

    # state

    def state_digests(self, target: Any) -> dict[str, bytes]:
        """Digests of a module's weights and buffers."""
        if not isinstance(target, torch.nn.Module):
            return {}
        return {name: self.digest(value) for name, value in target.state_dict().items()}

    def changed_state(self, target: Any, before: dict[str, bytes]) -> dict[str, Any]:
        """The weights and buffers that a call changed, under the reference's names."""
        if not isinstance(target, torch.nn.Module):
            return {}
        changed = {}
        for name, value in target.state_dict().items():
            if before.get(name) != self.digest(value):
                origin = self.weight_map.get(name, (name, ""))[0]
                changed[origin] = _sendable(value)
        return changed

    # cases and behaviour steps

    def run_case(self, case: dict[str, Any]) -> dict[str, Any]:
        """A case on the shared instance (or its own, where the case brings init or state)."""
        try:
            target = self.instance(case)
        except BaseException as error:  # noqa: BLE001  as in `measured`
            return {"error": describe_error(error, self.source), "facts": {}}
        return self.measured(target, case, self.fresh_inputs(case))

    def instance(self, case: dict[str, Any], *, fresh: bool = False) -> Any:
        """The shared instance with its weights reset, or a new one."""
        if fresh or case.get("init") or case.get("state") or case.get("initial"):
            return self.build(case)
        self.load_weights(self.target, None)
        return self.target

    def run_step(self, step: dict[str, Any]) -> dict[str, Any]:
        """One behaviour step; `answers` names the case whose answer its output must be."""
        kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "again": self._again,
            "mutate": self._mutate,
            "late": self._late,
            "keep": self._keep,
        }
        try:
            with self.options(step):
                body = kinds[step["kind"]](step)
        except BaseException as error:  # noqa: BLE001  as in `measured`
            body = {"error": describe_error(error, self.source), "facts": {}}
        return {"answers": step["case"], **body}

    def _again(self, step: dict[str, Any]) -> dict[str, Any]:
        """The case again: same instance, or a fresh one, possibly in training, or with options."""
        case = self.cases[step["case"]] | ({"train": True} if step.get("train") else {})
        target = self.instance(case, fresh=bool(step.get("fresh")))
        return self.measured(target, case, self.fresh_inputs(case))

    def _mutate(self, step: dict[str, Any]) -> dict[str, Any]:
        """The same input objects with the contents of another case of the same shapes."""
        case, other = self.cases[step["case"]], self.cases[step["with"]]
        target = self.instance(case)
        inputs = self.fresh_inputs(case)
        self.call(target, case, inputs)
        for mine, new in zip(tensors_in(inputs), tensors_in(other["inputs"]), strict=True):
            mine.data.copy_(new)
        self.load_weights(target, None)
        return self.measured(target, other, inputs) | {"answers": step["with"]}

    def _late(self, step: dict[str, Any]) -> dict[str, Any]:
        """Many calls with one case, then one with another."""
        case, other = self.cases[step["case"]], self.cases[step["with"]]
        target = self.instance(case)
        self.repeat(target, case, int(step.get("calls", DEFAULT_CALLS)))
        self.load_weights(target, None)
        body = self.measured(target, other, self.fresh_inputs(other))
        return body | {"answers": step["with"]}

    def _keep(self, step: dict[str, Any]) -> dict[str, Any]:
        """Keep an output, call with another case, then report the kept output's bytes."""
        case, other = self.cases[step["case"]], self.cases[step["with"]]
        target = self.instance(case)
        self.reset()
        kept = self.call(target, case, self.fresh_inputs(case))
        self.load_weights(target, None)
        self.call(target, other, self.fresh_inputs(other))
        return {"output": self.sendable(kept), "facts": {}}


def _tensors(target: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name."""
    return {n: v for n, v in target.state_dict().items() if isinstance(v, torch.Tensor)}


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr()) if tensor.layout == torch.strided else -1


def type_name(value: Any) -> str:
    """A tensor's type: `Tensor`, or the full name of a subclass."""
    kind = type(value)
    return (
        "Tensor"
        if kind in {torch.Tensor, torch.nn.Parameter}
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _sendable(value: Any) -> Any:
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, torch.Tensor):
        try:
            return (
                wire.decode(wire.encode(value)) if type(value) is torch.Tensor else _marked(value)
            )
        except wire.WireError:
            return {"!unsupported": f"{type_name(value)} {value.dtype} {value.layout}"}
    if isinstance(value, (tuple, list)):
        items = [_sendable(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {str(key): _sendable(item) for key, item in value.items()}
    return _marked(value)


def _marked(value: Any) -> Any:
    if isinstance(value, torch.nn.Parameter):
        return value.detach().clone()
    return {"!unsupported": type_name(value)}
