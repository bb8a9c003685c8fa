"""`python -m deploy.devstack`."""

from deploy.devstack.cli import main

if __name__ == "__main__":
    main()
