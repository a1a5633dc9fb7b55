"""split.parquet: on which side publish has last written each row of a run, and with which cluster.

A split depends on all rows together, so that it cannot be told again from one of them; `why` reads
it here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernelsift.errors import RunError
from kernelsift.files import replacing
from kernelsift.model import SampleId

NAME = "split.parquet"


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where one row went."""

    side: str
    cluster: str
    """What the rows that stay together are called: the first module name among them."""
    rows: int
    """Rows of the cluster."""


def write_sides(
    folder: Path, sides: Mapping[SampleId, str], clusters: Mapping[SampleId, str]
) -> None:
    """Replace the file of a run directory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = sorted(sides)
    columns = {
        "sample_id": pa.array(ids, pa.string()),
        "side": pa.array([sides[id_] for id_ in ids], pa.string()),
        "cluster": pa.array([clusters[id_] for id_ in ids], pa.string()),
    }
    with replacing(folder / NAME) as draft:
        pq.write_table(pa.table(columns), draft, compression="zstd")


def read_side(folder: Path, sample: SampleId) -> Assigned | None:
    """Where a row went; None where nothing was split yet, or the row was not among it.

    Raises:
        RunError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / NAME
    if not path.exists():
        return None
    try:
        found = pq.read_table(path).to_pydict()
    except (pa.ArrowException, OSError) as e:
        raise RunError(f"{path} cannot be read ({e}); publish again") from e
    try:
        at = found["sample_id"].index(sample)
    except ValueError:
        return None
    cluster = found["cluster"][at]
    return Assigned(found["side"][at], cluster, Counter(found["cluster"])[cluster])
