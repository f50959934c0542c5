"""`scotd practice-teacher`: a server to rehearse on before money is spent."""

import asyncio
import os
from pathlib import Path

import click

from scotd.cli.base import say
from scotd.errors import ConfigError


@click.command("practice-teacher", short_help="A server to rehearse on: answers `feedback`, faults on request.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--skill", type=click.FloatRange(0, 1), default=0.7, show_default=True, help="Share of right answers.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND=SHARE", help="Let a share of the requests go wrong: 429=0.05."
)
@click.option("--max-n", type=click.IntRange(min=1), help="Most choices of a request; more are refused.")
@click.option("--cap-silently", is_flag=True, help="Of more than --max-n send fewer, and say nothing.")
@click.option("--seconds", type=click.FloatRange(min=0), default=0.0, show_default=True, help="A request takes that.")
@click.option("--slots", type=click.IntRange(min=1), help="Requests worked on at once; the others wait.")
@click.option("--requests-a-minute", type=click.IntRange(min=1), help="More get HTTP 429.")
@click.option("--ledger", type=click.Path(path_type=Path), help="JSONL file to write down every reply in.")
@click.option("--key-env", metavar="NAME", help="Refuse requests without the key in this environment variable.")
@click.option("--numbered", is_flag=True, help="Every chain says which one it is: no two are the same.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of answers and faults.")
def practice_teacher(
    port: int,
    skill: float,
    faults: tuple[str, ...],
    max_n: int | None,
    cap_silently: bool,
    seconds: float,
    slots: int | None,
    requests_a_minute: int | None,
    ledger: Path | None,
    key_env: str | None,
    numbered: bool,
    seed: int,
) -> None:
    """Serve a teacher on this machine that costs nothing and misbehaves as told, until Ctrl-C.

    It speaks OpenAI's API and knows the task `feedback`. Sample from it as from a real one:

    \b
    scotd practice-teacher --fault 429=0.1 --fault cut=0.02 --max-n 8
    scotd sample exp.yaml --set teacher.kind=openai --set teacher.model=practice \\
        --set teacher.base_url=http://127.0.0.1:8765/v1

    Its chains are made up; no student learns anything from them. GET /practice says what it would have billed.
    """
    from scotd.teachers.practice import EXPLAINED, Practice, Settings, read_fault

    settings = Settings(
        skill=skill,
        seed=seed,
        faults=dict(map(read_fault, faults)),
        max_n=max_n,
        refuses=not cap_silently,
        seconds=seconds,
        slots=slots,
        requests_a_minute=requests_a_minute,
        ledger=ledger,
        numbered=numbered,
        key=None if key_env is None else _key(key_env),
    )

    async def serve() -> None:
        async with Practice(settings, port=port) as practice:
            click.echo(f"Practice teacher: {practice.url}/v1 (Ctrl-C ends it)")
            for fault, share in settings.faults.items():
                say(f"{share:.1%} of the requests: {EXPLAINED[fault]}")
            await asyncio.Event().wait()

    asyncio.run(serve())


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"--key-env {variable}: the environment variable is not set. Set it to any word.")
    return key
