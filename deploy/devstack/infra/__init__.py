"""The servers under the services: PostgreSQL, RabbitMQ, Redis, Mosquitto; given, native or in containers."""
