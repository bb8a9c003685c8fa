"""Stand-ins of the outside world: payment providers and coffee machines, each a process of its own."""
