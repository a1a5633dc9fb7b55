"""The reference's own health, as a verdict tells it: can a right answer be told from none?"""

from kernelsift.kernels.reference.gate_facts import GateFacts, Trivial
from kernelsift.model import Frozen


class Health(Frozen):
    """What verdict and reward of any answer to this module can mean. None: not measured."""

    degenerate: tuple[Trivial, ...] = ()
    """Answers without work that pass even our own rule on hardened inputs."""
    trivial_at_1e2: tuple[Trivial, ...] = ()
    """Answers without work that pass 1e-2 on its own inputs, what most harnesses use."""
    stochastic: bool | None = None
    """eval() gives another answer each time."""
    train_random: bool | None = None
    stateful: bool | None = None
    """Its parameters or buffers change in an eval() call."""
    informative: float | None = None
    """Share of the answer, 0 to 1, that 1e-2 can tell from the answer for another input."""
    launch_bound: bool | None = None
    """A GPU needs less time for the work than for launching a kernel: no speedup means anything."""


def health(gate: GateFacts | None, *, scaled: bool = False) -> Health | None:
    """Sum a gate up; None where the module did not run.

    `scaled`: the gate looked at smaller sizes than the module's own, so nothing is said of time.
    """
    if gate is None or not gate.runs:
        return None
    shares = [t.informative for t in gate.trivial if t.rule == "1e-2" and t.inputs == "own"]
    return Health(
        degenerate=gate.passes("relative", "hardened") if gate.degenerate else (),
        trivial_at_1e2=gate.passes("1e-2", "own"),
        stochastic=None if gate.deterministic is None else not gate.deterministic,
        train_random=gate.train_random,
        stateful=gate.stateful,
        informative=shares[0] if shares else None,
        launch_bound=None if scaled else gate.launch_bound,
    )


def health_line(found: Health | None) -> str:
    """One line in words; empty where nothing is known."""
    if found is None:
        return ""
    told = []
    if found.degenerate:
        told.append(f"degenerate: {_these(found.degenerate)} would pass any test")
    elif found.trivial_at_1e2:
        told.append(f"at 1e-2 {_these(found.trivial_at_1e2)} would pass")
    if found.informative is not None:
        told.append(f"{found.informative:.0%} of its answer tells at 1e-2")
    flags = ("stochastic", "train_random", "stateful", "launch_bound")
    told += [flag.replace("_", " ") for flag in flags if getattr(found, flag)]
    return "the reference: " + ", ".join(told) if told else ""


def _these(slugs: tuple[Trivial, ...]) -> str:
    return ", ".join(_WORDS[slug] for slug in slugs)


_WORDS: dict[Trivial, str] = {
    "zeros": "zeros",
    "constant": "a constant",
    "previous": "the answer for another input",
    "input": "an input",
    "weights": "the answer under other weights",
    "uninformative": "nearly any answer",
}
