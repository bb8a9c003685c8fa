"""``copeck machines simulate``: as many virtual machines as one wants, at the stack that runs here or another one."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from sandbox.machines.simulate import OfficeError, set_up

app = typer.Typer(help="Virtual coffee machines.", no_args_is_help=True, add_completion=False)


@app.callback()
def _root() -> None:
    """Stand for the group, so that its commands have names."""


def running_stack() -> dict[str, Any]:
    """Return the state file of a running stack: COPECK_STACK_FILE, or `.devstack/stack.json` here or above."""
    named = os.environ.get("COPECK_STACK_FILE")
    folders = (Path.cwd(), *Path.cwd().parents)
    for path in [Path(named)] if named else [folder / ".devstack" / "stack.json" for folder in folders]:
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return found
    return {}


@app.command()
def simulate(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many machines there are to be.")] = 10,
    api_url: Annotated[str, typer.Option(help="The product's public address; that of the running stack.")] = "",
    control_url: Annotated[str, typer.Option(help="A running fleet (`serve`); that of the running stack.")] = "",
    email: Annotated[str, typer.Option(help="A manager's login.", envvar="COPECK_MANAGER_EMAIL")] = "",
    prefix: Annotated[str, typer.Option(help="What the machines' names start with.")] = "sim",
    merchant: Annotated[str, typer.Option(help="Whose they are; a new merchant when empty.")] = "",
    model: Annotated[str, typer.Option(help="mqtt-v1, frame-v1 or tmetr.")] = "mqtt-v1",
    as_json: Annotated[bool, typer.Option("--json", help="Print the machines' names as JSON.")] = False,
) -> None:
    """Make machines through the product's API and have a running fleet be them; those that exist already stay.

    The manager's password comes from COPECK_MANAGER_PASSWORD, from the running stack, or from the keyboard.
    """
    stack = running_stack()
    urls, manager = stack.get("urls", {}), stack.get("people", {}).get("manager", {})
    api_url = api_url or urls.get("public", "http://127.0.0.1:8080")
    control_url = (control_url or urls.get("machines", "http://127.0.0.1:8092")).rstrip("/")
    password = os.environ.get("COPECK_MANAGER_PASSWORD", "")
    if not email and not password:
        email, password = manager.get("email", ""), manager.get("password", "")
    if not email:
        typer.echo("whose login? --email, or a stack that runs here", err=True)
        raise typer.Exit(2)
    password = password or typer.prompt("Password", hide_input=True)
    try:
        names = asyncio.run(
            set_up(
                api_url=api_url, control_url=control_url, email=email, password=password, count=count, prefix=prefix,
                merchant=merchant, model=model,
            )
        )  # fmt: skip
    except (OfficeError, httpx2.HTTPError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps({"machines": names, "url": f"{control_url}/machines/{names[0]}"}))
    else:
        typer.echo(f"{len(names)} machines, the first at {control_url}/machines/{names[0]}")
