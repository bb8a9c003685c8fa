"""The garbage collector of a process that lives long and makes many short-lived objects."""

import gc

_THRESHOLDS = (50_000, 20, 50)


def calm_collector() -> None:
    """Have the collector look less often, and never again at what was loaded at the start.

    Nearly everything is freed by counting references; walking through all modules and models after every few hundred
    new objects costs a service several per cent of its time. To be called once, when everything is loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
