"""Settings that all tests share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from kernelsift.kernels.isolation.pool import Pool

settings.register_profile(
    "here",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the last files: the longest tests (of verify) are there, and no worker waits."""
    items.sort(key=lambda item: item.path.name, reverse=True)


@pytest.fixture(scope="session")
def interpreters() -> Iterator["Pool"]:
    """Children in which torch and triton are imported, started once for all tests of a worker."""
    from kernelsift.kernels.isolation.pool import Pool
    from kernelsift.kernels.verifier import PRELOAD

    with Pool(workers=1, preload=PRELOAD) as pool:
        yield pool
