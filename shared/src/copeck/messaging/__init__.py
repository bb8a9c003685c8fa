"""The bus: topology, publishing with confirms, consuming, inbox and outbox, dead letters, Celery."""
