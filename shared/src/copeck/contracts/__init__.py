"""What travels on the bus: the envelope, every command and event, and who may send and who consumes each."""
