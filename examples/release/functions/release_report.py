"""The report on all checks, called as a function once everything else has ended."""

import html
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MARKS = {"done": "passed", "skipped": "not made", "unknown": "unknown"}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ max-width: 62rem; margin: 2.5rem auto; padding: 0 1.2rem; font: 16px/1.5 system-ui, sans-serif }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ padding: .45rem .7rem; text-align: left; vertical-align: top; border-top: 1px solid #8884 }}
td:nth-child(2) {{ white-space: nowrap; font-weight: 600 }}
.passed {{ color: #2c8f66 }} .failed {{ color: #cf3f38 }} .other {{ color: #8b96a8 }}
pre {{ white-space: pre-wrap; margin: .3rem 0 0; font-size: .85rem }}
</style>
<h1>{title}</h1>
<p>{verdict}</p>
<table><tr><th>Check<th>Result<th>What was found</tr>
{rows}
</table>
"""


def write_report(
    source: str, directory: str, snapshot: str, diagnosis: Any, results: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Write `report.md` and `report.html` into a directory, keep there what was built, and remove the snapshot.

    `results` holds state, error and output of each check, `diagnosis` what was collected where one failed.
    """
    checks = [_check(name, *result) for name, result in results.items()]
    verdict = _verdict(checks)
    if diagnosis:
        checks.append(_check("diagnosis", "collected", "", diagnosis))
    title = f"Release report: {_subject(checks, source)}"
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    (target / "report.md").write_text(_markdown(title, verdict, checks), encoding="utf-8", errors="replace")
    (target / "report.html").write_text(_page(title, verdict, checks), encoding="utf-8", errors="replace")
    if snapshot:
        _keep_distributions(Path(snapshot), target)
    return {"verdict": verdict, "markdown": str(target / "report.md"), "html": str(target / "report.html")}


def _check(name: str, state: str, error: str, output: Any) -> dict[str, Any]:
    found = _finding(output)
    error = error.partition("CheckFailed: ")[2] or error
    lines = [*found.get("problems", ()), *found.get("notes", ())] if found else error.splitlines()
    if found and state == "failed" and not found.get("problems"):
        lines = error.splitlines()
    return {
        "name": name,
        "result": _MARKS.get(state, state),
        "summary": found.get("summary", "") or (lines[0] if lines else ""),
        "lines": lines if found.get("summary") else lines[1:],
        "found": found,
    }


def _finding(output: Any) -> dict[str, Any]:
    """Return what a check printed or returned; nothing where it did not get that far."""
    found = output
    if isinstance(output, dict) and "stdout" in output:
        try:
            found = json.loads(output["stdout"])
        except ValueError:
            found = None
    return found if isinstance(found, dict) and "summary" in found else {}


def _subject(checks: list[dict[str, Any]], source: str) -> str:
    names = [f"{c['found']['name']} {c['found']['version']}" for c in checks if "version" in c["found"]]
    return names[0] if names else Path(source).resolve().name


def _verdict(checks: list[dict[str, Any]]) -> str:
    failed = [check["name"] for check in checks if check["result"] == "failed"]
    missing = [check["name"] for check in checks if check["result"] not in ("passed", "failed")]
    if not failed and not missing:
        return f"Fit for a release: all {len(checks)} checks passed."
    parts = [f"failed: {', '.join(failed)}"] if failed else []
    parts += [f"not made: {', '.join(missing)}"] if missing else []
    return f"Not fit for a release; {'; '.join(parts)}."


def _markdown(title: str, verdict: str, checks: list[dict[str, Any]]) -> str:
    rows = [f"| {c['name']} | **{c['result']}** | {c['summary'].replace('|', chr(92) + '|')} |" for c in checks]
    details = [
        f"## {c['name']}\n\n{chr(10).join(f'    {line}' for line in c['lines'])}\n" for c in checks if c["lines"]
    ]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    table = "\n".join(["| check | result | what was found |", "|---|---|---|", *rows])
    return "\n".join([f"# {title}", "", f"{verdict} Made {made}.", "", table, "", *details])


def _page(title: str, verdict: str, checks: list[dict[str, Any]]) -> str:
    return _PAGE.format(
        title=html.escape(title), verdict=html.escape(verdict), rows="\n".join(_row(check) for check in checks)
    )


def _row(check: dict[str, Any]) -> str:
    lines = f"<pre>{html.escape(chr(10).join(check['lines']))}</pre>" if check["lines"] else ""
    colour = check["result"] if check["result"] in ("passed", "failed") else "other"
    return (
        f"<tr><td>{html.escape(check['name'])}<td class={colour}>{html.escape(check['result'])}"
        f"<td>{html.escape(check['summary'])}{lines}</tr>"
    )


def _keep_distributions(snapshot: Path, target: Path) -> None:
    """Move what was built into the directory and remove the rest of the snapshot's folder."""
    built = snapshot.parent / "dist"
    if built.is_dir():
        shutil.copytree(built, target / "dist", dirs_exist_ok=True)
    shutil.rmtree(snapshot.parent, ignore_errors=True)
