"""The operator's commands about the State Storage; `copeck.operator` finds them by name."""
