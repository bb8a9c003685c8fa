"""The only SQL of the service, a file an aggregate."""
