"""The runner: finds or starts the servers that Copeck needs, starts its processes, checks them and stops them.

`python -m deploy.devstack --help` lists the commands; tests use `deploy.devstack.stack.Stack`.
"""
