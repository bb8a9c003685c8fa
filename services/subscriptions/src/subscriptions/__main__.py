"""`python -m subscriptions`."""

from subscriptions.main import main

main()
