"""How Copeck is started: on one machine (`devstack`), and in containers."""
