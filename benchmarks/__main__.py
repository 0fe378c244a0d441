"""`python -m benchmarks [--json] [--rounds N] [NAME ...]`: every figure, or those whose name contains NAME.

Exits with 1 if a bar was missed, and with it the floor of the row, if it has one.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

from benchmarks import (
    campaigns,
    cassettes,
    counting,
    coverage,
    evals,
    harness,
    latency,
    matching,
    models,
    otel,
    peers,
    protocol,
    recording,
    startup,
    tracing,
    trees,
    viewer,
    wire,
)
from benchmarks.floors import FLOORS
from benchmarks.harness import Ratio

SUITES = {
    "models": models.ratios,
    "recording": recording.ratios,
    "counting": counting.ratios,
    "protocol": protocol.ratios,
    "trees": trees.ratios,
    "tracing": tracing.ratios,
    "otel": otel.ratios,
    "viewer": viewer.ratios,
    "matching": matching.ratios,
    "latency": latency.ratios,
    "wire": wire.ratios,
    "cassettes": cassettes.ratios,
    "evals": evals.ratios,
    "coverage": coverage.ratios,
    "campaigns": campaigns.ratios,
    "startup": startup.ratios,
    "peers": peers.ratios,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios, each measured in one process.")
    parser.add_argument("suite", nargs="*", choices=[*SUITES, []], help="which suites; all by default")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    names = [name for name in SUITES if name in (chosen.suite or SUITES)]
    ratios = _measured(names[0], chosen.rounds) if len(names) == 1 else _each_apart(names, chosen.rounds)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    versions = {name: version(name) for name in ("langchain-core", "pytest", "syrupy")}
    if chosen.json:
        print(
            json.dumps({"python": platform.python_version(), "versions": versions, "ratios": harness.as_json(ratios)}, indent=2)
        )
    else:
        print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "\n")
        print("\n".join(harness.table(ratios)))
    return 0 if all(r.held for r in ratios) else 1


def _measured(name: str, rounds: int) -> list[Ratio]:
    return [replace(ratio, floor=FLOORS.get(ratio.name)) for ratio in SUITES[name](rounds)]


def _each_apart(names: list[str], rounds: int) -> list[Ratio]:
    """Measure each suite in a process of its own: what the heap of another one does to it is not its matter."""
    found: list[Ratio] = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks", name, "--json", "--rounds", str(rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"python -m benchmarks {name} has ended with {done.returncode}")
        rows = json.loads(done.stdout)["ratios"]
        found += [Ratio(**{key: value for key, value in row.items() if key != "held"}) for row in rows]
    return found


if __name__ == "__main__":
    sys.exit(main())
