"""Which key goes to which service: by its address, never to another one's."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from kernelsift.config import Llm, PriceRow
from kernelsift.credentials import Secrets
from kernelsift.errors import ConfigError
from kernelsift.llm.openai import Endpoint
from kernelsift.llm.prices import Price
from kernelsift.llm.redact import Secret

PRIME_KEY: Final = "PRIME_API_KEY"
_HOSTED: Final = {
    "api.pinference.ai": PRIME_KEY,
    "api.openai.com": "OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
}
"""Services that answer nothing without a key."""


def make_endpoint(cfg: Llm, model: str, secrets: Secrets, *, need_key: bool = True) -> Endpoint:
    """The endpoint for a model, with its key, team and price.

    Without `need_key` a missing key is no error: prices may be asked for without one.

    Raises:
        ConfigError: the service needs a key and its variable is not set.
    """
    host = urlsplit(cfg.base_url).hostname or ""
    variable = cfg.api_key_env or _HOSTED.get(host) or _default_variable(host, secrets)
    key = secrets.find(variable) or ""
    if need_key and not key and (cfg.api_key_env or host in _HOSTED):
        raise ConfigError(
            f"no key for {cfg.base_url}: set {variable} in the environment or in .env; "
            "`--judge static` (and `--generator template`) need none"
        )
    row = cfg.price.get(model)
    price = Price(row.input, row.output, row.cached) if isinstance(row, PriceRow) else row
    return Endpoint(
        base_url=cfg.base_url,
        model=model,
        key=Secret(key, name=variable),
        key_variable=variable,
        team=secrets.find("PRIME_TEAM_ID") if variable == PRIME_KEY else None,
        price=price,
    )


def _default_variable(host: str, secrets: Secrets) -> str:
    """This machine may get the key of Prime, e.g. for a proxy; other hosts only a general one."""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return PRIME_KEY if local and secrets.find(PRIME_KEY) else "OPENAI_API_KEY"
