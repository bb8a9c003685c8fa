"""Users, sessions, roles, API keys, and the tokens that the other services trust."""
