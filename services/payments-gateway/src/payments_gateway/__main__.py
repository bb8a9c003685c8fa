"""`python -m payments_gateway`."""

from payments_gateway.main import main

main()
