"""Which infrastructure: given, native, containers, or native after installing; the choice is always said."""

import os

from deploy.devstack.console import RunnerError, say
from deploy.devstack.infra import docker, native, packages
from deploy.devstack.infra.base import Context, Infra
from deploy.devstack.infra.given import GivenInfra, is_given

KINDS = ("env", "native", "docker")


def choose(context: Context) -> Infra:
    """Return the infrastructure of the first kind that can be had; COPECK_INFRA names one."""
    wanted = os.environ.get("COPECK_INFRA", "").strip().lower()
    if wanted and wanted not in KINDS:
        raise RunnerError(f"COPECK_INFRA={wanted}: it is one of {', '.join(KINDS)}")
    if wanted == "env" or (not wanted and is_given()):
        say("infrastructure", "env: the servers that the environment names")
        return GivenInfra()
    if wanted == "docker":
        docker.check()
        say("infrastructure", "docker: containers, because COPECK_INFRA says so")
        return docker.DockerInfra(context)
    absent = native.missing()
    if not absent:
        say("infrastructure", "native: private instances of the servers installed here")
        return native.NativeInfra(context)
    if not wanted and docker.usable() is None:
        say("infrastructure", f"docker: containers, as {', '.join(absent)} is not installed here")
        return docker.DockerInfra(context)
    if packages.may_install():
        say("infrastructure", f"native: {', '.join(absent)} will be installed with apt-get first")
        packages.install(list(absent.values()))
        return native.NativeInfra(context)
    raise RunnerError(
        f"{', '.join(absent)} not found, and no Docker engine that can run the images. "
        f"On Debian: apt-get install {' '.join(absent.values())} (nothing of the system's own servers is used)"
    )
