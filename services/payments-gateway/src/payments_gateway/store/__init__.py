"""The only SQL of the gateway, split by aggregate. Every function takes the transaction first."""
