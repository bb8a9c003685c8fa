"""Pure decisions of the gateway: no network, no database, no clock of their own."""
