"""The command line itself: commands are imported when they are asked for, errors are one line each."""

import sys
from typing import Any

import psycopg
import typer
from typer.core import TyperGroup

from copeck.messaging.errors import BrokerUnavailableError, PublishError
from copeck.operator import registry
from copeck.operator.errors import OperatorError
from copeck.operator.output import complaints

_BROKER_EXIT = 3
_HELP = """Find out what happened to a payment, check the books, and deal with what was set aside.

Examples:

\b
  copeck invoice show 0190f5c2-…          one invoice's whole story
  copeck invoice list --status paid       search
  copeck payout show 0190f5c2-…           one payout's whole story
  copeck payout list --status failed      search
  copeck wallet show wallet:0190f5c2-…    a balance and how it came about
  copeck ledger verify                    is every kopeck accounted for?
  copeck replay --check                   does every stored row follow from its chain of events?
  copeck quarantine list                  messages that could not be judged
  copeck dlq list                         messages that a service rejected
  copeck outbox status                    what is not published yet
  copeck machines simulate --count 20     virtual coffee machines at a stack of the sandbox

Servers: COPECK_DATABASE_URL (role operator) and COPECK_BROKER_URL (user operator), or the stack of `make up`.

Exit status: 0 done, 1 refused or not found, 2 wrong usage, 3 a server is not reached, 4 a check found something.
"""


class LazyGroup(TyperGroup):
    """Knows its commands by name and imports the one that runs: `copeck outbox status` needs no decision of money."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Return the names in the order of the registry."""
        return list(registry.COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """Import one command."""
        reference = registry.COMMANDS.get(cmd_name)
        if reference is None:
            return None
        try:
            command = typer.main.get_command(registry.load(reference))
        except ModuleNotFoundError as error:
            # The image of the command line has no sandbox in it.
            if error.name != reference.partition(".")[0]:
                raise
            return None
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


@app.callback(help=_HELP)
def _root() -> None:
    """Stand for the group: its help is above."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    try:
        status = app(arguments, standalone_mode=False, prog_name="copeck")
    except OperatorError as error:
        _complain(str(error), error.exit_code)
    except (BrokerUnavailableError, PublishError) as error:
        _complain(f"the broker: {error}", _BROKER_EXIT)
    except psycopg.Error as error:
        _complain(f"the database: {str(error).strip().splitlines()[0]}", _BROKER_EXIT)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _complain("stopped on request", 130)
    except Exception as error:
        # Mistakes on the command line are typer's own exceptions; they know how to show themselves.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(status if isinstance(status, int) else 0)


def _complain(text: str, status: int) -> None:
    complaints().print(f"copeck: {text}", markup=False)
    sys.exit(status)
