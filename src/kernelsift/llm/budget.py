"""Hard caps on money and requests, with the worst case of every call in flight set aside."""

import asyncio
from collections import deque
from dataclasses import dataclass
from math import ceil, floor
from types import TracebackType
from typing import Self

from kernelsift.errors import BudgetError

_NANO = 1_000_000_000
"""Money is counted in whole billionths of a dollar, rounded against the cap."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What was spent since the client was opened."""

    usd: float
    """Known cost of all answers, useful or not."""
    lost_usd: float
    """The most that attempts without an answer can have cost on top."""
    lost: int
    unpriced: int
    """Answers whose cost is not known."""
    requests: int
    input_tokens: int = 0
    output_tokens: int = 0


class Hold:
    """Money set aside for one attempt. Leaving the `with` block unsettled settles it.

    It is given back if nothing was sent, and counts as lost if the request was on its way.
    """

    __slots__ = ("_budget", "_nano", "_open", "sent")

    def __init__(self, budget: "Budget", nano: int) -> None:
        self._budget = budget
        self._nano = nano
        self._open = True
        self.sent = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open:
            if self.sent:
                self.lose()
            else:
                self.give_back()

    def give_back(self) -> None:
        """Nothing was billed."""
        self._close(charge=0)

    def settle(self, usd: float | None) -> None:
        """An answer came and cost `usd`; not known charges the worst case against the cap."""
        if usd is None:
            self._budget.unpriced += 1
            self._close(charge=self._nano)
        else:
            self._budget.usd += usd
            self._close(charge=ceil(usd * _NANO))

    def lose(self) -> None:
        """No answer came, but it may be billed: charge the worst case, report it apart."""
        self._budget.lost += 1
        self._budget.lost_nano += self._nano
        self._close(charge=self._nano)

    def _close(self, charge: int) -> None:
        if self._open:
            self._open = False
            self._budget.close_hold(self._nano, charge)


class Budget:
    """The caps of one run. A call that does not fit waits while others may give money back."""

    def __init__(
        self,
        *,
        max_usd: float | None = None,
        max_requests: int | None = None,
        spent_usd: float = 0.0,
        sent_requests: int = 0,
    ) -> None:
        """Set the caps in USD and in requests, retries included; None means no cap.

        Args:
            max_usd: Cap on money.
            max_requests: Cap on requests.
            spent_usd: What counts against the cap already, from earlier sessions.
            sent_requests: Likewise.
        """
        self.max_usd = max_usd
        self._cap = None if max_usd is None else floor(max_usd * _NANO)
        self._max_requests = max_requests
        self._before_usd = spent_usd
        self._before_requests = sent_requests
        self._charged = ceil(spent_usd * _NANO)
        self._reserved = 0
        self._holds = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.usd = 0.0
        self.lost = 0
        self.lost_nano = 0
        self.unpriced = 0
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0

    @property
    def spend(self) -> Spend:
        lost_usd = self.lost_nano / _NANO
        return Spend(
            usd=self.usd,
            lost_usd=lost_usd,
            lost=self.lost,
            unpriced=self.unpriced,
            requests=self.requests,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )

    def count_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count what an answer used; only for showing it."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    async def reserve(self, usd: float) -> Hold:
        """Set aside the most that one attempt can cost.

        Raises:
            BudgetError: It does not fit, and nothing in flight could give money back.
        """
        nano = ceil(usd * _NANO)
        if self._waiters or not self._fits(nano):
            await self._wait(nano)
        else:
            self._take(nano)
        return Hold(self, nano)

    def count_request(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            BudgetError: The cap on requests is reached; this one must not be sent.
        """
        sent = self._before_requests + self.requests
        if self._max_requests is not None and sent >= self._max_requests:
            raise BudgetError(
                f"{sent} requests were sent and --max-requests is {self._max_requests}; "
                "raise it and run the same command again: nothing is lost"
            )
        self.requests += 1

    def close_hold(self, nano: int, charge: int) -> None:
        """Turn a reservation into what is really charged, and let waiting calls go on."""
        self._reserved -= nano
        self._holds -= 1
        self._charged += charge
        while self._waiters:
            need, waiter = self._waiters[0]
            if waiter.done():
                self._waiters.popleft()
            elif self._fits(need):
                self._waiters.popleft()
                self._take(need)
                waiter.set_result(None)
            elif not self._holds:
                self._waiters.popleft()
                waiter.set_exception(self._too_much(need))
            else:
                return

    def _fits(self, nano: int) -> bool:
        return self._cap is None or self._charged + self._reserved + nano <= self._cap

    def _take(self, nano: int) -> None:
        self._reserved += nano
        self._holds += 1

    async def _wait(self, nano: int) -> None:
        if not self._holds:
            raise self._too_much(nano)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((nano, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.close_hold(nano, 0)
            raise

    def _too_much(self, nano: int) -> BudgetError:
        lost = self.lost_nano / _NANO
        spent = self._before_usd + self.usd
        note = f" (and up to ${lost:.4f} for calls that got no answer)" if self.lost else ""
        return BudgetError(
            f"${spent:.4f} was spent{note}, --max-usd is ${self.max_usd:.4f}, and the next call "
            f"may cost ${nano / _NANO:.4f}; raise --max-usd and run the same command again: "
            "nothing is lost"
        )
