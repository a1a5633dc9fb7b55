"""Arguments of a function that answers the task, by name and then by order."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Named = list[tuple[str, Any]]


class NoMatchError(TypeError):
    """The arguments of a function cannot be told; `seen` says what it wants and what there is."""

    def __init__(self, why: str, seen: Sequence[str]) -> None:
        """`seen`: the wanted arguments and what is on offer, in words."""
        super().__init__(why)
        self.seen = [why, *seen]


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a function may be called with, each named where the reference has a name."""

    inputs: Sequence[tuple[str, Any]]
    weights: Sequence[tuple[str, Any]]
    inits: Sequence[tuple[str, Any]]


def match_arguments(
    function: Any, offer: Offer
) -> tuple[inspect.BoundArguments, dict[str, tuple[str, str]]]:
    """Arguments for a function: by name among inputs, weights, init values, then by order.

    `*args` gets the inputs that no parameter took, and then the weights in the reference's order.
    Also says for each weight by which parameter it went in and how: by name, as the only one left
    (`shape`), or by order. A default of None gives way to a weight of that kind.
    NoMatchError (a TypeError) if a parameter without a default stays empty.
    """
    signature = inspect.signature(function)
    parameters = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    ]
    groups = [list(offer.inputs), list(offer.weights), list(offer.inits)]
    weights = groups[1]
    bound: dict[str, Any] = {}
    found: dict[str, tuple[str, str]] = {}

    def take(parameter: str, group: Named, position: int, how: str) -> None:
        name, bound[parameter] = group.pop(position)
        if group is weights:
            found[parameter] = (name, how)

    for parameter in parameters:
        positions = ((group, _named(parameter.name, group)) for group in groups)
        place = next(((group, at) for group, at in positions if at is not None), None)
        if place is not None:
            take(parameter.name, *place, "name")
    rest = next((p for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    for parameter in parameters:
        if parameter.name in bound:
            continue
        place = _by_order(parameter, groups, beside=rest is not None)
        if place is not None:
            group, position = place
            take(parameter.name, group, position, "shape" if len(group) == 1 else "order")
        elif parameter.default is parameter.empty:
            raise NoMatchError(
                f"nothing to pass for the argument {parameter.name!r}", _on_offer(offer)
            )
    if rest is not None:
        found |= {name: (name, "order") for name, _ in weights}
        bound[rest.name] = tuple(value for group in groups[:2] for _, value in group)
    return _call(signature, bound), found


def _call(signature: inspect.Signature, bound: dict[str, Any]) -> inspect.BoundArguments:
    """The call; a parameter before `*args` that nothing was found for gets its default."""
    call = inspect.BoundArguments(signature, OrderedDict())
    for name, parameter in signature.parameters.items():
        if name in bound:
            call.arguments[name] = bound[name]
        elif parameter.default is not parameter.empty:
            call.arguments[name] = parameter.default
    return call


def _by_order(
    parameter: inspect.Parameter, groups: list[Named], *, beside: bool
) -> tuple[Named, int] | None:
    """Group and position of what a parameter gets that no name fits; None: its default.

    `beside`: `*args` takes what has no name, so that an option keeps its default.
    """
    inputs, weights, _ = groups
    if parameter.default is not parameter.empty:
        if beside and parameter.kind is parameter.KEYWORD_ONLY:
            return None
        if inputs:
            return inputs, 0
        akin = _akin(parameter.name, weights)
        return None if parameter.default is not None or akin is None else (weights, akin)
    group = next((group for group in groups if group), None)
    if group is None:
        return None
    return group, (_akin(parameter.name, group) or 0) if group is weights else 0


def _akin(name: str, weights: Named) -> int | None:
    """Position of the first weight with the parameter's letter: w1 is a weight, b2 a bias."""
    letter = re.sub(r"[\d_]+$", "", name).rpartition("_")[2][:1].lower()
    tails = [offered.rpartition(".")[2] for offered, _ in weights]
    return next((i for i, tail in enumerate(tails) if letter and tail.startswith(letter)), None)


def _on_offer(offer: Offer) -> list[str]:
    names = [name for group in (offer.inputs, offer.weights, offer.inits) for name, _ in group]
    return [f"there is {', '.join(names) or 'nothing'}"]


def _named(name: str, group: Named) -> int | None:
    """Position of an offer that has this name, or this name as its only matching last part."""
    plain = [offered.replace(".", "_") for offered, _ in group]
    if name in plain:
        return plain.index(name)
    tails = [offered.rsplit(".", 1)[-1] for offered, _ in group]
    return tails.index(name) if tails.count(name) == 1 else None


def paired(names: Sequence[str] | None, values: Sequence[Any]) -> Named:
    """Values with their names; those beyond the names are numbered."""
    names = names or []
    return [(names[i] if i < len(names) else f"argument_{i}", v) for i, v in enumerate(values)]


def offer_of(job: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> Offer:
    """What there is to pass: a call's inputs, the job's weights and init values with defaults."""
    names = job.names
    init = dict(names.get("defaults") or {})
    init |= dict(paired(names.get("init"), job.init["args"])) | job.init["kwargs"]
    offered = [*paired(names.get("inputs"), inputs), *kwargs.items()]
    return Offer(offered, list(job.state.items()), list(init.items()))
