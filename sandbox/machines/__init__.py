"""A fleet of virtual coffee machines on MQTT, the telemetry's HTTP API, and a mail sink.

It is written from the contract's document alone and shares no code with the product, so that its brew log can serve as
ground truth: which cup was really poured.
"""
