"""How long will the Triton interpreter need? A model fitted on a few kernels; pure arithmetic.

The interpreter spends its time per operation of the kernel and program, hardly per element: about
0.2 ms for each `tl` call on one slow core. So time is programs × (setup + loop trips × body).
"""

import math
from dataclasses import dataclass

PROGRAM_SECONDS = 2.5e-3
"""One program of ten to fifteen operations (add: 1 to 1.6 ms, softmax 3, long pointwise 3.5)."""
TRIP_SECONDS = 3.8e-3
"""One trip of a loop that loads two tiles and multiplies them (3.6 to 5 ms)."""
ELEMENT_SECONDS = 2e-8
"""One element through one such program."""
LAUNCH_SECONDS = 1e-3
DEFAULT_BLOCK = 1024
TILE_DEPTH = 32
"""How much of the summed axis one trip takes."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is known about one launch: its programs, the trips of its inner loop, its block."""

    programs: int
    trips: float = 0.0
    block: int = DEFAULT_BLOCK


def launch_seconds(launch: Launch) -> float:
    """Predict the time of one interpreted launch in seconds."""
    programs = max(launch.programs, 1)
    each = PROGRAM_SECONDS + launch.trips * TRIP_SECONDS
    elements = programs * (1 + launch.trips) * launch.block
    return LAUNCH_SECONDS + programs * each + elements * ELEMENT_SECONDS


def guess_launch(numel_in: int, numel_out: int, flops: int, block: int | None = None) -> Launch:
    """Guess programs and trips from sizes: one block of the output per program."""
    width = max(block or DEFAULT_BLOCK, 1)
    programs = math.ceil(max(numel_out, 1) / width)
    depth = flops / 2 / max(numel_out, 1)
    if flops > 64 * max(numel_in, numel_out, 1):
        return Launch(programs, depth / TILE_DEPTH, width)
    covered = programs * width
    return Launch(programs, max(math.ceil(numel_in / covered) - 1, 0), width)


def predict_seconds(numel_in: int, numel_out: int, flops: int, block: int | None = None) -> float:
    """Predict the seconds that one call of a candidate takes in the interpreter.

    Elements of all inputs, elements of all outputs, FLOPs of the reference and, where it is known,
    the elements that one program writes.
    """
    return launch_seconds(guess_launch(numel_in, numel_out, flops, block))
