"""`python -m device_bridge`."""

from device_bridge.main import main

main()
