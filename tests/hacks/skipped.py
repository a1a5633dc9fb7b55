"""Answers that leave out a piece of the module which rarely shows; each has a module of its own."""

from dataclasses import replace
from textwrap import indent

from hacks.tasks import TASKS, Case, Task, answer

_LIMITS = {"LearnedSwish": 40.0, "WeightedEnergy": 4000.0, "LinearReLU": 40.0, "PlainConv": 40.0}
"""Bounds that nominal answers stay below and those for inputs fifty times as large do not."""
_BUFFER = "self.register_buffer('seen', torch.zeros(1))\n"
_UPDATE = "self.seen.mul_(0.9).add_(0.1 * x.detach().mean())\n"
_DROPOUT = "self.drop = nn.Dropout(0.5)\n"


def _module(t: Task, name: str, init: str, before: str, result: str) -> Task:
    """The task with more in its constructor, a statement in forward, and another result."""
    old = f"return {_result(t)}"
    body = indent(before, " " * 8).lstrip() + indent(f"return {result}", " " * 8 if before else "")
    source = t.reference.replace(f"class {t.name}(", f"class {name}(").replace(old, body)
    made = t.init + init
    source = source.replace(indent(t.init, " " * 8), indent(made, " " * 8))
    return replace(t, name=name, reference=source, init=made)


def _result(t: Task) -> str:
    start = t.reference.index("return ") + len("return ")
    return t.reference[start : t.reference.index("\n", start)]


def clamped(t: Task) -> Task:
    """The module with a bound that ordinary values stay below."""
    limit = _LIMITS[t.name]
    result = f"torch.clamp({_result(t)}, -{limit}, {limit})"
    return _module(t, f"Clamped{t.name}", "", "", result)


def tracked(t: Task) -> Task:
    """The module with a running mean of its input."""
    return _module(t, f"Tracked{t.name}", _BUFFER, _UPDATE, _result(t))


def dropped(t: Task) -> Task:
    """The module with dropout at its end."""
    return _module(t, f"Dropped{t.name}", _DROPOUT, "", f"self.drop({_result(t)})")


_MADE = {
    ("clamp", clamped): [task for task in TASKS if task.name in _LIMITS],
    ("statistics", tracked): list(TASKS),
    ("dropout", dropped): list(TASKS),
}
SKIPPED_REFERENCES = {
    make(task).name: make(task).reference for (_, make), tasks in _MADE.items() for task in tasks
}
"""Source of each module, by its name."""


def skipped() -> list[Case]:
    """Return honest answers to the plain tasks, handed in for modules with one piece more."""
    return [
        Case(task.name, "K31", answer(task, task.forward()), style)
        for (style, make), tasks in _MADE.items()
        for task in map(make, tasks)
    ]
