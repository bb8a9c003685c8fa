"""`python -m tests.chaos --help`: the long run; `make chaos` calls it."""

import secrets

import typer

from tests.chaos.run import describe, run

app = typer.Typer(add_completion=False)


@app.command()
def main(
    count: int = typer.Option(2000, min=1, help="Subscriptions to buy."),
    seed: int = typer.Option(0, help="Repeats the plan of another run; 0 draws one."),
    settle_s: float = typer.Option(300, min=10, help="How long to wait for everything to settle after healing."),
) -> None:
    """Buy subscriptions while everything breaks, heal, and check the books against the provider's log."""
    result = run(count, seed or secrets.randbelow(10**6) + 1, settle_s=settle_s)
    typer.echo(describe(result))
    raise typer.Exit(0 if result.ok else 1)


if __name__ == "__main__":
    app()
