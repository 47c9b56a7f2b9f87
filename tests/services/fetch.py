"""Fetches what test servers need from Maven Central, so that no test has to wait for the network."""

from __future__ import annotations

from tests.services.jars import HERE, fetch_jars, missing_for_java


def main() -> None:
    """Fetch the jars of every server that runs on Java, where Java and Maven are installed."""
    if missing_for_java():
        return
    for pom in sorted(HERE.glob("*.pom.xml")):
        fetch_jars(pom.name.removesuffix(".pom.xml"))


if __name__ == "__main__":
    main()
