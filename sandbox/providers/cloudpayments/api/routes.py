"""Addresses of the API's methods."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sandbox.providers.cloudpayments.api import payments, payouts, settings_methods
from sandbox.providers.cloudpayments.api.call import Answer, Call, Gate, Handler

# Path, the name that chaos knows the operation by, and the method itself.
METHODS: tuple[tuple[str, str, Handler], ...] = (
    ("/test", "test", payments.test),
    ("/payments/cards/charge", "charge", payments.cards_charge),
    ("/payments/cards/auth", "charge", payments.cards_auth),
    ("/payments/cards/post3ds", "post3ds", payments.post3ds),
    ("/payments/tokens/charge", "charge", payments.tokens_charge),
    ("/payments/tokens/auth", "charge", payments.tokens_auth),
    ("/payments/confirm", "confirm", payments.confirm),
    ("/payments/void", "void", payments.void),
    ("/payments/refund", "refund", payments.refund),
    ("/payments/get", "get", payments.get),
    ("/payments/find", "find", payments.find),
    ("/v2/payments/find", "find", payments.find_v2),
    ("/payments/list", "list", payments.list_day),
    ("/v2/payments/list", "list", payments.list_v2),
    ("/payments/tokens/list", "list", payments.tokens_list),
    ("/payments/token/topup", "topup", payouts.token_topup),
    ("/payments/cards/topup", "topup", payouts.cards_topup),
    ("/payments/alt/topup", "topup", payouts.alt_topup),
    ("/subscriptions/create", "subscription", settings_methods.subscription_create),
    ("/subscriptions/get", "subscription", settings_methods.subscription_get),
    ("/subscriptions/find", "subscription", settings_methods.subscription_find),
    ("/subscriptions/update", "subscription", settings_methods.subscription_update),
    ("/subscriptions/cancel", "subscription", settings_methods.subscription_cancel),
)


def build_router() -> APIRouter:
    """All methods behind one gate."""
    router, gate = APIRouter(), Gate()

    def add(path: str, operation: str, handler: Handler, verbs: list[str]) -> None:
        async def endpoint(request: Request) -> Response:
            return await gate.serve(request, operation, _with_path(request, handler))

        router.add_api_route(path, endpoint, methods=verbs, name=path)

    for path, operation, handler in METHODS:
        add(path, operation, handler, ["GET", "POST"] if path == "/test" else ["POST"])
    add("/site/notifications/{type}/get", "settings", settings_methods.notification_get, ["POST"])
    add("/site/notifications/{type}/update", "settings", settings_methods.notification_update, ["POST"])
    return router


def _with_path(request: Request, handler: Handler) -> Handler:
    """Give the handler the parts of the path as parameters named ``{name}``; they win over any of the client's."""

    async def run(call: Call) -> Answer:
        call.parameters |= {"{" + name + "}": value for name, value in request.path_params.items()}
        return await handler(call)

    return run
