"""The judge stage the way of the project's first scripts, written anew for comparison.

All rows are in memory as dicts; a coroutine per row is made at once, a semaphore lets some through;
the openai SDK sends, with its own retries inside three of the script's; a verdict is what the first
tag says; nothing is written until all rows have ended. Runs without kernelsift, in the environment
that has the SDK; where there is none, httpx stands in for it.
"""

import argparse
import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any

PROMPT = """You are an expert evaluator of Triton kernels. Rate the difficulty of the task and the \
style of the solution, both from 0 to 10.

Module: {name}

Original PyTorch:
{reference}

Solution:
{completion}

Respond only with <difficulty>N</difficulty> and <style>N</style>."""
TRIES = 3
Send = Callable[[str], Awaitable[str]]


def score(text: str, tag: str) -> int | None:
    """The first whole number between the tags."""
    found = re.search(rf"<{tag}>(\d+)</{tag}>", text)
    return int(found[1]) if found else None


async def evaluate(
    sample: dict[str, Any], send: Send, semaphore: asyncio.Semaphore
) -> dict[str, Any] | None:
    """Rate one row; None when three tries were in vain."""
    async with semaphore:
        prompt = PROMPT.format(
            name=sample["info"]["module_name"],
            reference=sample["info"]["python_code"][:4000],
            completion=sample["completion"][0]["content"][:8000],
        )
        # the benchmark's own mark, so that the server can tell the rows apart
        prompt += f"\nREQ-ID:{sample['example_id']:06d}"
        for attempt in range(TRIES):
            try:
                text = await send(prompt)
            except Exception:  # noqa: BLE001 - as the script did
                if attempt < TRIES - 1:
                    await asyncio.sleep(2**attempt)
            else:
                scores = {tag: score(text, tag) for tag in ("difficulty", "style")}
                return {**sample, **scores, "evaluation_raw": text}
        return None


def sdk(base_url: str) -> tuple[Send, str]:
    """A sender over the openai SDK, or httpx where it is not installed."""
    try:
        from openai import AsyncOpenAI
    except ImportError:
        return _plain(base_url), "httpx"
    client = AsyncOpenAI(base_url=base_url, api_key="none")

    async def send(prompt: str) -> str:
        answer = await client.chat.completions.create(
            model="openai/gpt-5.2",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=256,
            temperature=0.1,
        )
        return answer.choices[0].message.content or ""

    return send, "openai SDK"


def _plain(base_url: str) -> Send:
    import httpx

    client = httpx.AsyncClient(timeout=600)

    async def send(prompt: str) -> str:
        body = {
            "model": "openai/gpt-5.2",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 256,
            "temperature": 0.1,
        }
        answer = await client.post(f"{base_url}/chat/completions", json=body)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])

    return send


async def run(samples: list[dict[str, Any]], base_url: str, at_once: int, out: Path) -> str:
    """Rate all rows, then write what came."""
    send, name = sdk(base_url)
    semaphore = asyncio.Semaphore(at_once)
    results = await asyncio.gather(*[evaluate(s, send, semaphore) for s in samples])
    with out.open("w", encoding="utf-8") as file:
        for result in results:
            if result is not None:
                file.write(json.dumps(result) + "\n")
    return name


def main() -> None:
    """Rate rows of a JSONL file and print what it took, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("base_url")
    parser.add_argument("at_once", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with options.table.open(encoding="utf-8") as file:
        samples = [json.loads(line) for line in islice(file, options.rows)]
    before, started = os.times(), time.monotonic()
    name = asyncio.run(run(samples, options.base_url, options.at_once, options.out))
    seconds, after = time.monotonic() - started, os.times()
    with options.out.open(encoding="utf-8") as file:
        scored = sum('"difficulty": null' not in line[-2000:] for line in file)
    options.out.unlink()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = {
        "client": name,
        "seconds": seconds,
        "cpu": after.user + after.system - before.user - before.system,
        "peak_mb": int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024,
        "scored": scored,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
