"""The HTTP edge that every service shares: application factory, problem details, tokens, limits, pages."""
