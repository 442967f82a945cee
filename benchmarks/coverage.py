"""Coverage: how often intervals hold the truth, and how often tests raise false alarms.

Every world of tests/worlds.py draws sets of rows of which the truth is known. The table goes to
benchmarks/coverage.md; a world that is in it already is replaced.

    python benchmarks/coverage.py [--sets 5000] [--only WORDS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from worlds import FALSE, HOLDS, World, worlds  # noqa: E402 - lies beside the tests

TABLE = HERE / "coverage.md"
HEAD = """# Coverage

How often 95 % intervals hold the truth, and how often tests at 5 % find a difference that is not
there, over simulated sets of rows (`make coverage`). The sampling error of a share of 5,000 sets is
0.3 points.

| rows | score | interval holds | interval of a difference holds | false alarms | sets |
|---|---|---|---|---|---|
"""


def rows_of(world: World, sets: int) -> list[str]:
    """Give the lines of a world."""
    found = world.shares(sets, resamples=500)
    names = dict.fromkeys(key.partition(":")[0].removesuffix(", difference") for key in found)

    def cell(key: str) -> str:
        return f"{100 * found[key]:.1f} %" if key in found else "–"

    return [
        f"| {world.name} | {name} | {cell(f'{name}: {HOLDS}')} "
        f"| {cell(f'{name}, difference: {HOLDS}')} | {cell(f'{name}: {FALSE}')} | {sets:,} |"
        for name in names
    ]


def main() -> None:
    """Simulate, and write the table as it grows."""
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--sets", type=int, default=5000)
    reading.add_argument("--only", default="", help="worlds whose name holds this")
    reading.add_argument("--table", type=Path, default=TABLE)
    asked = reading.parse_args()
    for world in worlds():
        if asked.only in world.name:
            lines = rows_of(world, asked.sets)
            print("\n".join(lines), flush=True)
            known = asked.table.read_text().splitlines() if asked.table.exists() else []
            kept = [line for line in known if line.endswith(" |") and line[2:3].isdigit()]
            kept = [line for line in kept if not line.startswith(f"| {world.name} |")]
            asked.table.write_text(HEAD + "\n".join([*kept, *lines]) + "\n")


if __name__ == "__main__":
    main()
