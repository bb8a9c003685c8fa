"""Tables that every service has in its own schema: each function adds one to the service's MetaData."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def _created_at() -> sa.Column[datetime]:
    now = sa.text("clock_timestamp()")
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now)


def outbox_table(metadata: sa.MetaData, name: str = "outbox") -> sa.Table:
    """Messages that a commit decided to send. The relay deletes a row once the broker confirmed it.

    Rows are few and short-lived, so the table is vacuumed early and kept half empty.
    """
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("message_id", pg.UUID(as_uuid=True), nullable=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("headers", pg.JSONB, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        _created_at(),
    )


def inbox_table(metadata: sa.MetaData, name: str = "inbox") -> sa.Table:
    """Messages that were applied. The day comes out of the id itself, so that a repeat always meets its first copy."""
    return sa.Table(
        name,
        metadata,
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("id", pg.UUID(as_uuid=True), primary_key=True),
    )


def idempotency_table(metadata: sa.MetaData, name: str = "idempotency") -> sa.Table:
    """Answers given under an `Idempotency-Key`. A scope is a user and a route."""
    return sa.Table(
        name,
        metadata,
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("status", sa.SmallInteger),
        # json and not jsonb: the same answer means its fields in the same order too.
        sa.Column("body", pg.JSON),
        _created_at(),
    )


def dead_letter_table(metadata: sa.MetaData, name: str = "dead_letter_reasons") -> sa.Table:
    """Why a message was set aside: a rejected message cannot carry a reason of its own."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False, server_default=""),
        sa.Column("reason", sa.Text, nullable=False),
        _created_at(),
    )
