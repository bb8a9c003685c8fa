"""Every test may use the shared fixtures."""

pytest_plugins = ("copeck.testkit.fixtures",)
