"""`python -m auth`."""

from auth.main import main

main()
