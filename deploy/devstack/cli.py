"""Start, look at and stop everything on one machine; the targets of the Makefile call this."""

import json
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from deploy.devstack import dotenv, running
from deploy.devstack.console import RunnerError, say
from deploy.devstack.scratch import MAIN

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Instance = Annotated[str, typer.Option(help="Which stack: tests have one of their own beside the main one.")]
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def up(
    instance: Instance = MAIN,
    detach: Annotated[bool, typer.Option(help="Leave it running in the background.")] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a service out, to run it in a debugger: python -m deploy.devstack run."),
    ] = None,
) -> None:
    """Start everything, print the URLs, and stay until Ctrl-C."""
    if detach:
        running.detach(instance, without or [])
    else:
        running.foreground(instance, without or [])


@app.command()
def down(instance: Instance = MAIN) -> None:
    """Stop a stack that runs in the background or in another terminal."""
    running.down(instance)


@app.command()
def status(
    instance: Instance = MAIN, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Tell what of the running stack is alive and answers; exit status 1 when something does not."""
    rows = running.status(instance)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for name, row in rows.items():
            typer.echo(f"{name:<24}{'up' if row['alive'] else 'DOWN':<6}{row['health']}")
    if not all(row["alive"] and row["health"] in ("ok", "") for row in rows.values()):
        raise typer.Exit(1)


@app.command()
def demo(
    instance: Instance = MAIN,
    keep: Annotated[bool, typer.Option(help="Leave the stack running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Start everything, sell a subscription and two coffees as people would buy them, print their timelines, stop."""
    from deploy.devstack import demo as show

    show.run(instance, keep=keep)


@app.command()
def migrate(instance: Instance = MAIN) -> None:
    """Migrate all schemas: of COPECK_MIGRATOR_DATABASE_URL, else of the running stack."""
    running.migrate(instance)


@app.command(context_settings=_PASS_ON)
def run(context: typer.Context, service: str, instance: Instance = MAIN) -> None:
    """Run one more process of a service beside the running stack, in the foreground."""
    running.run_one(service, instance, context.args)


@app.command()
def shell(
    instance: Instance = MAIN,
    role: Annotated[str, typer.Option(help="Database role to log in as.")] = "operator",
    python: Annotated[bool, typer.Option(help="A Python shell with `state` instead of psql.")] = False,
) -> None:
    """Open psql on the running stack's database, read-only unless another role is named."""
    running.shell(instance, role, python=python)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def operator(context: typer.Context) -> None:
    """Run the operator CLI on the running stack; all arguments are its own."""
    running.operator(MAIN, context.args)


@app.command("test", context_settings=_PASS_ON)
def run_tests(
    context: typer.Context,
    suite: Annotated[list[str] | None, typer.Option(help="Only this suite; may be given several times.")] = None,
) -> None:
    """Start the servers, run all test suites, print one summary; further arguments go to pytest."""
    from deploy.devstack import testing

    raise typer.Exit(testing.run(suite, context.args))


def _module(name: str, text: str) -> None:
    @app.command(name, context_settings=_PASS_ON, add_help_option=False, help=text)
    def command(context: typer.Context) -> None:
        from deploy.devstack import testing

        raise typer.Exit(testing.run_module(name, context.args))


_module("bench", "Start the servers and measure (tests.bench); arguments are its own.")
_module("chaos", "Run the long chaos test (tests.chaos); arguments are its own.")
_module("load", "Load on wallets (tests.load); arguments are its own.")
_module("payouts-batch", "A large file of payouts (tests.load.batch); arguments are its own.")
_module("coffee-chaos", "Coffee while everything breaks (tests.coffee.chaos); arguments are its own.")
_module("coffee-latency", "From callback to brew command (tests.coffee.latency); arguments are its own.")
_module("machines-load", "A large fleet on one bridge (tests.coffee.fleet_load); arguments are its own.")
_module("bugs", "Plant the seeded bugs one at a time (tests.chaos.bugs); arguments are its own.")


@app.command("compose-demo")
def compose_demo(
    keep: Annotated[bool, typer.Option(help="Leave the containers running afterwards.")] = False,
) -> None:
    """Build the images, bring deploy/compose.yml up healthy, and run the demo against it."""
    from deploy.devstack import compose

    raise typer.Exit(compose.run(keep=keep))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: every stop signal ends the run as Ctrl-C does, and what a person must know is one line."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    dotenv.load()
    try:
        # Without its standalone mode typer returns the status of an Exit instead of ending the process with it.
        status = app(arguments, standalone_mode=False)
    except RunnerError as error:
        say("failed", str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("stopped", "on request")
        sys.exit(130)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # Mistakes on the command line are typer's own exceptions; they know how to show themselves.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(status if isinstance(status, int) else 0)
