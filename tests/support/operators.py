"""The operator's command line as a process, and damage to the books that it has to find."""

import io
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

import psycopg

from copeck.operator.app import main
from tests.support.forks import Fork

Copeck = Callable[..., Awaitable["Answer"]]


class Answer:
    """What one run of the command line came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command_line(env: dict[str, str]) -> Copeck:
    """Return a function that runs `copeck` with arguments and asserts its exit status."""

    async def run(*arguments: str, status: int = 0, **changes: str) -> Answer:
        process = Fork("copeck.operator", *arguments, env=env | changes, keep=True)
        try:
            code = await process.wait()
        finally:
            out, err = process.said()
        answer = Answer(code, out, err)
        assert answer.status == status, f"{arguments}: {answer.out[-2000:]}\n{answer.err[-3000:]}"
        return answer

    return run


def inside(env: dict[str, str]) -> Callable[..., Answer]:
    """Return a function that runs `copeck` in this process: many runs would wait for imports otherwise."""

    def run(*arguments: str, status: int = 0) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, env), redirect_stdout(out), redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as end:
                code = int(end.code or 0)
        answer = Answer(code, out.getvalue(), err.getvalue())
        assert answer.status == status, f"{arguments}: {answer.out[-2000:]}\n{answer.err[-3000:]}"
        return answer

    return run


def damage(url: str, *statements: str) -> None:
    """Do what no role of ours may: a superuser past every trigger."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


BOOKS = ("invoices", "payments", "refunds", "payouts", "transitions", "transfers", "accounts")


@contextmanager
def damaged(url: str, *statements: str) -> Iterator[None]:
    """Damage the books for the length of a block."""
    saved = [f"CREATE TABLE IF NOT EXISTS public.saved_{name} AS TABLE state.{name}" for name in BOOKS]
    damage(url, *saved, *statements)
    try:
        yield
    finally:
        damage(url, "ALTER TABLE state.transfers DROP CONSTRAINT IF EXISTS transfers_wallet_not_negative")
        for name in BOOKS:
            damage(
                url,
                f"TRUNCATE state.{name}",
                f"INSERT INTO state.{name} SELECT * FROM public.saved_{name}",
                f"DROP TABLE public.saved_{name}",
            )
        damage(
            url,
            "ALTER TABLE state.transfers ADD CONSTRAINT transfers_wallet_not_negative "
            "CHECK (debit_balance_minor >= 0 OR debit_account NOT LIKE 'wallet:%')",
        )
