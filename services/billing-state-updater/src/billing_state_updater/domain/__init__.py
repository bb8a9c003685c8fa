"""Pure decisions: what a command does to an aggregate and to the books. No I/O, no clock of its own."""
