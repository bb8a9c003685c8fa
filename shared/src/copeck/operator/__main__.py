"""`python -m copeck.operator`."""

from copeck.operator.app import main

if __name__ == "__main__":
    main()
