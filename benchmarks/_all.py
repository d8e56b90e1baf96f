"""Runs every benchmark and keeps what they print, as results/<commit>.json; `--quick` is passed on.

A benchmark that fails is named under "failed" with its last line, and the others still run.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def commit() -> str:
    """The commit that is measured, marked where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def main(options: list[str]) -> int:
    """Runs all, each in a process of its own; returns how many failed."""
    measured = commit()
    results: dict[str, object] = {}
    failed: dict[str, str] = {}
    scripts = [path for path in sorted(HERE.glob("*.py")) if not path.name.startswith(("_", "train_"))]
    for script in scripts:
        print(f"== {script.stem}", file=sys.stderr, flush=True)
        command = [sys.executable, str(script), "--json", *options]
        ran = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
        try:
            results[script.stem] = json.loads(ran.stdout)
        except ValueError:
            failed[script.stem] = (ran.stdout.splitlines() or [f"exit status {ran.returncode}"])[-1]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{measured}.json"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document = {"commit": measured, "at": now, "options": options, "results": results, "failed": failed}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(path.relative_to(HERE.parent))
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
