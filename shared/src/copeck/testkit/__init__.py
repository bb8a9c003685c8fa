"""What tests of all services share: servers of their own, broken networks, tokens, waiting. Never in production."""
