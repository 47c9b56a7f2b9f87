"""Records of databases that keep documents under keys but evaluate no queries: that is done here.

A store says how documents are read and committed (`Database`), and gets all of `RecordStore` (`EvaluatedRecords`).
"""

from aats_core.storage.evaluated.database import (
    UNSEEN,
    Change,
    Commit,
    Database,
    Seen,
    Stored,
    taken_id,
    taken_values,
)
from aats_core.storage.evaluated.records import EvaluatedRecords

__all__ = [
    "UNSEEN",
    "Change",
    "Commit",
    "Database",
    "EvaluatedRecords",
    "Seen",
    "Stored",
    "taken_id",
    "taken_values",
]
