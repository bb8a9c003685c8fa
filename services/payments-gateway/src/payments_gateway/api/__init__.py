"""HTTP edges: `pay` for payers, `paid` for providers."""
