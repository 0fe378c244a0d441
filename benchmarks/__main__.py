"""`python -m benchmarks [--json] [--rounds N] [NAME ...]`: every figure, or those whose name contains NAME.

Exits with 1 if a bar was missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
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
    protocol,
    recording,
    startup,
    tracing,
    trees,
    viewer,
    wire,
)

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
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios, measured in one process.")
    parser.add_argument("suite", nargs="*", choices=[*SUITES, []], help="which suites; all by default")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    ratios = [ratio for name in SUITES if name in (chosen.suite or SUITES) for ratio in SUITES[name](chosen.rounds)]
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


if __name__ == "__main__":
    sys.exit(main())
