"""The floor: aiohttp, orjson and the same code to send; no journal, limits, retries or parse.

What this takes at the same moment on the same machine is what a client in Python can be.
"""

import argparse
import asyncio
import time
from itertools import islice
from pathlib import Path

import aiohttp
import orjson
from machine import cpu_seconds, own_peak_mb, put_result

from kernelsift.samples import SampleFile


async def run(bodies: list[bytes], url: str, at_once: int) -> int:
    """Send every body; returns how many answers hold a verdict."""
    feed = iter(bodies)
    good = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal good
        for body in feed:
            async with session.post(url, data=body) as response:
                answer = orjson.loads(await response.read())
            good += "<style>" in answer["choices"][0]["message"]["content"]

    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*[work(session) for _ in range(at_once)])
    return good


def main() -> None:
    """Send the code of a run's rows and print what it took, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path)
    parser.add_argument("base_url")
    parser.add_argument("at_once", type=int)
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    file = SampleFile(options.samples)
    bodies = []
    for sample in file.read(list(islice(file.entries(), options.rows))):
        message = {"role": "user", "content": sample.code}
        bodies.append(orjson.dumps({"model": "openai/gpt-5.2", "messages": [message]}))
    before, started = cpu_seconds(), time.monotonic()
    scored = asyncio.run(run(bodies, f"{options.base_url}/chat/completions", options.at_once))
    seconds, cpu = time.monotonic() - started, cpu_seconds() - before
    put_result({"seconds": seconds, "cpu": cpu, "peak_mb": own_peak_mb(), "scored": scored})


if __name__ == "__main__":
    main()
