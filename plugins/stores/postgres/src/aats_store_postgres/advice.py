"""What someone who looks after the database should do, by the statistics that the server keeps."""

from __future__ import annotations

from aats_store_postgres.session import Session

_MANY_ROWS, _MUCH_DEAD, _DEAD_SHARE = 1_000, 10_000, 0.2
_LARGE_INDEX = 10 * 1024 * 1024

_TABLES = """
SELECT relid::regclass::text, n_live_tup, n_dead_tup, last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL
FROM pg_stat_user_tables WHERE schemaname = $1 ORDER BY 1
"""
_INDEXES = """
SELECT indexrelid::regclass::text, relid::regclass::text, pg_relation_size(indexrelid)
FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
WHERE schemaname = $1 AND idx_scan = 0 AND NOT indisunique AND pg_relation_size(indexrelid) >= $2 ORDER BY 1
"""
_WRAPAROUND = """
SELECT age(datfrozenxid), current_setting('autovacuum_freeze_max_age')::bigint, current_setting('autovacuum')
FROM pg_database WHERE datname = current_database()
"""


async def advice(session: Session, space: str) -> list[str]:
    """Return what to do, most urgent first; nothing where all is well."""
    found: list[str] = []
    ((age, most, autovacuum),) = await session.fetch(_WRAPAROUND)
    if autovacuum != "on":
        found.append("autovacuum is off: set `autovacuum = on`, or run VACUUM and ANALYZE regularly")
    if age > 2 * most:
        found.append(f"transaction ids are {age:,} old and autovacuum does not keep up: run VACUUM FREEZE")
    for table, live, dead, analyzed in await session.fetch(_TABLES, space):
        if live >= _MANY_ROWS and not analyzed:
            found.append(f"{table}: {live:,} rows, and no statistics of them: run ANALYZE {table}")
        if dead >= _MUCH_DEAD and dead > _DEAD_SHARE * live:
            found.append(
                f"{table}: {dead:,} dead rows beside {live:,} live ones: run VACUUM {table}, and have it come earlier: "
                f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02)"
            )
    for index, table, size in await session.fetch(_INDEXES, space, _LARGE_INDEX):
        found.append(f"{index}: {size >> 20} MiB that no query of {table} has used yet; is it needed?")
    return found
