"""Composition and commands: `python -m reminder_cron beat|worker|serve-metrics|tick|schedule|migrate`."""

import signal
from collections.abc import Callable
from typing import Annotated

import typer

from copeck.observability.logs import configure_logging
from copeck.observability.trace import trace_scope
from reminder_cron.settings import ReminderSettings

# Beat sleeps no longer than this, so that a stop is noticed soon.
_BEAT_PAUSE_S_MAX = 1
_STOPS = (signal.SIGTERM, signal.SIGINT)

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def _settings(process: str) -> ReminderSettings:
    settings = ReminderSettings()
    configure_logging(process, settings.log_level, settings.log_format)
    return settings


@cli.command()
def beat() -> None:
    """Send ticks by the schedule. Two of them do no harm: work is claimed by a unique row."""
    settings = _settings("reminder-beat")
    from celery.beat import Service

    from copeck.observability.sidecar import Sidecar
    from reminder_cron.figures import Figures
    from reminder_cron.tasks import app

    service = Service(app, max_interval=_BEAT_PAUSE_S_MAX, scheduler_cls=app.conf.beat_scheduler)

    def ask(*_: object) -> None:
        # A second signal inside `stop` would wait for a lock that the first one holds.
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        service.stop()

    # Celery's own handler closes the connection inside the signal, and hangs when that falls into a publish: here the
    # signal only asks, and the loop ends between two ticks.
    for number in _STOPS:
        signal.signal(number, ask)
    figures = Figures(settings)
    sidecar = Sidecar(figures.health(worker=False), figures.render, settings.metrics_port, settings.listen_host)
    sidecar.start()
    service.start()
    sidecar.stop()


@cli.command()
def worker(
    concurrency: Annotated[int, typer.Option(help="Processes; 0: as the settings say.", min=0, max=64)] = 0,
) -> None:
    """Run the tasks that beat sends; a stop finishes those under way."""
    settings = _settings("reminder-worker")
    from celery.signals import worker_ready, worker_shutting_down

    from copeck.messaging.celery import worker_command
    from copeck.observability.sidecar import Sidecar
    from reminder_cron.figures import Figures
    from reminder_cron.tasks import app

    figures = Figures(settings)
    worker_ready.connect(lambda **_: figures.consuming.set(), weak=False)
    worker_shutting_down.connect(lambda **_: figures.consuming.clear(), weak=False)
    Sidecar(figures.health(worker=True), figures.render, settings.metrics_port, settings.listen_host).start()
    app.worker_main(worker_command("reminders", concurrency or settings.worker_concurrency))


@cli.command("serve-metrics")
def serve_metrics() -> None:
    """Serve health and metrics alone, on COPECK_METRICS_PORT; not ready when the ticks have stopped."""
    settings = _settings("reminder-metrics")
    if not settings.metrics_port:
        raise typer.BadParameter("COPECK_METRICS_PORT is not set")
    from copeck.observability.sidecar import Sidecar
    from reminder_cron.figures import Figures

    figures = Figures(settings)
    health = figures.health(worker=False)
    health.add("ticks", figures.check_ticks)
    sidecar = Sidecar(health, figures.render, settings.metrics_port, settings.listen_host)
    # Before the thread of the server, which inherits this: the signals wait for whoever asks for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    sidecar.start()
    signal.sigwait(_STOPS)
    sidecar.stop()


@cli.command()
def tick(name: Annotated[str, typer.Argument(help="invoice-expiry, outbox or retention")]) -> None:
    """Do the work of one tick here and now, without Celery, and print how much there was."""
    settings = _settings("reminder-tick")
    from reminder_cron import handlers

    work: dict[str, Callable[[handlers.Context], int]] = {
        "invoice-expiry": handlers.expire_invoices,
        "outbox": handlers.publish,
        "retention": handlers.retain,
    }
    if name not in work:
        raise typer.BadParameter(f"one of {', '.join(work)}")
    context = handlers.Context.of(settings)
    with trace_scope():
        typer.echo(work[name](context))
    context.database.close()


@cli.command()
def schedule() -> None:
    """Print the schedule."""
    from reminder_cron.schedule import ticks

    for line in ticks(ReminderSettings()):
        typer.echo(f"{line.name:16} every {line.every_s:>6g} s  {line.queue:10} {line.task:34} {line.purpose}")


@cli.command()
def migrate(
    database_url: Annotated[str, typer.Option(envvar="COPECK_DATABASE_URL", help="The migrator's URL.")],
) -> None:
    """Bring the schema `reminders` to its newest revision."""
    from copeck.storage.migrations import tree_of, upgrade

    upgrade(tree_of("reminder-cron"), database_url)


def main() -> None:
    """Run the command line."""
    cli()
