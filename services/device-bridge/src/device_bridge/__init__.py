"""Coffee machines: what they sell, to whom, and whether it was brewed."""
