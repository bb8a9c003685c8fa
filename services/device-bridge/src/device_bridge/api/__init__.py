"""HTTP edges: the catalogue, orders and statements for merchants and managers; pages for buyers."""

from fastapi import APIRouter

from device_bridge.api import accounts, devices, drinks, files, incidents, merchants, orders, statements
from device_bridge.api.dependencies import PREFIX

TITLE = "Copeck: coffee machines"
DESCRIPTION = """
`merchants` own machines and are owed what these sell; `devices` are the machines, with their keys, their `broker
accounts` and their stop switch; `drinks` are what a machine makes, in sizes, with prices. `files` are both as CSV.
`orders` are cups that somebody asked for, `incidents` what should not have happened and did, `statements` a merchant's
sales by day and machine. Managers change everything, operators read everything, merchants see and change their own.
"""
ROUTERS: tuple[APIRouter, ...] = (
    # Before machines: `devices.csv` and `devices/import` are no machine's code.
    files.router,
    orders.router,
    devices.router,
    drinks.router,
    merchants.router,
    incidents.router,
    statements.router,
    accounts.router,
)
BODY_LIMITS = {
    f"{PREFIX}{files.DEVICES_IMPORT}": files.BODY_BYTES_MAX,
    f"{PREFIX}{files.DRINKS_IMPORT}": files.BODY_BYTES_MAX,
}
"""Paths that take larger bodies than the others, in bytes."""

__all__ = ["BODY_LIMITS", "DESCRIPTION", "PREFIX", "ROUTERS", "TITLE"]
