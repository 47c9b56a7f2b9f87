"""What callers may ask of a key-value store, whatever the database."""

from __future__ import annotations

from aats_core.errors import StoreError


def check_ttl(key: str, ttl: float | None) -> None:
    """Raise `StoreError` where a value, or a lock, cannot live for so many seconds."""
    if ttl is not None and not ttl > 0:
        raise StoreError(f"{key}: a ttl is more than 0 seconds, not {ttl:g}")


def check_limit(key: str, rate: int, per: float) -> None:
    """Raise `StoreError` where there cannot be so many permits in so many seconds."""
    if rate < 1 or not per > 0:
        raise StoreError(f"{key}: a limit is at least 1 in more than 0 seconds, not {rate} in {per:g}")
