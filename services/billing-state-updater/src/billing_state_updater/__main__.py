"""Entry of `python -m billing_state_updater`."""

from billing_state_updater.main import run

if __name__ == "__main__":
    run()
