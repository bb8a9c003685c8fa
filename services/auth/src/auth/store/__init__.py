"""The only SQL of this service; every function takes the transaction first."""
