"""What scripts ask before they choose a device: layers of this version live on the CPU."""


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0
