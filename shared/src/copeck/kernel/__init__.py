"""Values that every service needs and that touch no server: money, ids, time, settings, errors."""
