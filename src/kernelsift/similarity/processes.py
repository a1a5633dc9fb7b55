"""Work on chunks in processes of their own, in order, a few chunks ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

_FEW = 3
"""Fewer chunks than this are not worth starting processes for."""
T = TypeVar("T")
R = TypeVar("R")


class Processes:
    """Maps chunks in processes of their own, started when there is more than one chunk."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """function(item) of each item, in order, a few at a time."""
        feed = iter(items)
        ahead = list(islice(feed, _FEW))
        if self._workers <= 1 or len(ahead) < _FEW:
            yield from map(function, chain(ahead, feed))
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"))
        pending: deque[Future[R]] = deque()
        for item in chain(ahead, feed):
            pending.append(self._pool.submit(function, item))
            if len(pending) > 3 * self._workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
