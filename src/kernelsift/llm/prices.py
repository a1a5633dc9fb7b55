"""What a call costs. A price that is not known is None, never 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal

from kernelsift.llm.reply import Usage

_MILLION: Final = 1_000_000.0
_OVERHEAD: Final = 256
"""Input tokens that a service may add for roles and templates."""
_GATEWAYS: Final = ("https://api.pinference.ai/",)
"""Hosts that sell other providers' models at their list price, under `provider/model`."""
_PROVIDERS: Final = {"z-ai": "zai", "meta-llama": "meta", "mistralai": "mistral"}
"""Prefixes of model names whose provider has another name in the price list."""

Source = Literal["models", "override", "list"]


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price in USD per million tokens."""

    input: float
    output: float
    """Reasoning tokens are output tokens."""
    cached: float | None = None
    """For input tokens read from a cache; None charges them as input."""
    cache_write: float | None = None
    """For input tokens written to a cache; None charges them as input."""
    source: Source = "override"

    def __post_init__(self) -> None:
        for value in (self.input, self.output, self.cached or 0.0, self.cache_write or 0.0):
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"{value} is not a price in USD per million tokens")

    def times(self, factor: float) -> "Price":
        """Return the price with a discount: 0.5 is half of it."""
        return Price(
            self.input * factor,
            self.output * factor,
            None if self.cached is None else self.cached * factor,
            None if self.cache_write is None else self.cache_write * factor,
            self.source,
        )

    def usd(self, usage: Usage) -> float:
        """Return what an answer cost."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        plain = usage.input_tokens - cached - written
        read_price = self.input if self.cached is None else self.cached
        write_price = self.input if self.cache_write is None else self.cache_write
        total = plain * self.input + cached * read_price + written * write_price
        return (total + usage.output_tokens * self.output) / _MILLION

    def worst(self, input_bytes: int, output_tokens: int) -> float:
        """Return the most that a call can cost in USD: a token is never less than a byte."""
        dearest = max(self.input, self.cached or 0.0, self.cache_write or 0.0)
        return ((input_bytes + _OVERHEAD) * dearest + output_tokens * self.output) / _MILLION


def cost(usage: Usage | None, price: Price | None) -> tuple[float | None, str]:
    """Return the cost of an answer in USD and where the figure comes from."""
    if usage is None:
        return None, ""
    if usage.cost_usd is not None:
        return usage.cost_usd, "response"
    if price is None:
        return None, ""
    return price.usd(usage), price.source


def from_models(models: Sequence[Any], model: str) -> Price | None:
    """Return the price that an endpoint's own `GET /models` gives for a model.

    Two shapes are in use: numbers in USD per million tokens (`input_usd_per_mtok`, Prime
    Intellect) and texts in USD per token (`prompt`, `completion`, OpenRouter).
    """
    item = next((m for m in models if isinstance(m, dict) and m.get("id") == model), None)
    pricing = item.get("pricing") if item else None
    if not isinstance(pricing, dict):
        return None
    if "input_usd_per_mtok" in pricing:
        names = ("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok", "")
        scale = 1.0
    else:
        names = ("prompt", "completion", "input_cache_read", "input_cache_write")
        scale = _MILLION
    read, write, cached, cache_write = (_number(pricing.get(name), scale) for name in names)
    if read is None or write is None:
        return None
    return Price(read, write, cached, cache_write, source="models")


def from_list(base_url: str, model: str, *, any_host: bool = False) -> Price | None:
    """Return the list price of a model, from the table that comes with `genai-prices`.

    Nothing is fetched. Tiers for very long prompts and discounts of service tiers are left out.

    Args:
        base_url: Only known hosted services have list prices; a model at another address is not
            what its name says.
        model: Its name at that service, e.g. `gpt-5.2` or `openai/gpt-5.2`.
        any_host: The user says that the list price holds at this address as well.
    """
    provider, _, name = model.rpartition("/")
    if any_host or base_url.startswith(_GATEWAYS):
        return _listed(name, provider=_PROVIDERS.get(provider, provider) or None)
    return _listed(model, base_url=base_url)


def _listed(
    model: str, *, provider: str | None = None, base_url: str | None = None
) -> Price | None:
    import genai_prices  # 0.2 s, and needed only when nothing else gives a price

    def per_million(**tokens: int) -> float:
        used = genai_prices.Usage(**tokens)
        if base_url is not None:
            found = genai_prices.calc_price(used, model, provider_api_url=base_url)
        else:
            found = genai_prices.calc_price(used, model, provider_id=provider)
        return float(found.total_price) * 1_000

    try:
        return Price(
            input=per_million(input_tokens=1_000),
            output=per_million(output_tokens=1_000),
            cached=per_million(input_tokens=1_000, cache_read_tokens=1_000),
            cache_write=per_million(input_tokens=1_000, cache_write_tokens=1_000),
            source="list",
        )
    except (LookupError, ValueError):
        return None


def _number(value: object, scale: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value) * scale
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
