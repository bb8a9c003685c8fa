"""The operator's command line, `copeck`: a thin loader of commands that live with the service that owns their data.

Services never import each other, so the loader names their commands by string (`registry`), imports only the one that
is asked for, and hands it a read-only connection as the database role `operator`.
"""
