"""Buyers' edge: the machine's menu, orders and their status, without an account. HTML is in `pages`."""

from fastapi import APIRouter

from device_bridge.api.buyers import public

routers: tuple[APIRouter, ...] = (public.router,)
