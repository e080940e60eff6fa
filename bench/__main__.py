"""`python -m bench`: measures jobhall on this machine beside two yardsticks; JSON lines as it goes, then a table."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from bench.processes import BenchmarkError
from bench.report import YARDSTICKS, machine, profile_text, table
from bench.run import FULL, QUICK, Figures
from bench.watch_workloads import ONCE
from bench.workloads import WORKLOADS, run_workload, run_yardsticks


def main() -> int:
    arguments = _parse()
    signal.signal(signal.SIGTERM, _leave)
    sizes = QUICK if arguments.quick else FULL
    rounds = arguments.rounds or sizes.rounds
    names = _chosen(arguments.only)
    _say(machine=machine(), workloads=names, rounds=rounds)
    measured: dict[str, list[Figures]] = {YARDSTICKS: [], **{name: [] for name in names}}
    try:
        for number in range(1, rounds + 1):
            figures, level = run_yardsticks(sizes, folder=arguments.folder)
            measured[YARDSTICKS].append(figures)
            _say(workload=YARDSTICKS, round=number, synchronous=level, **figures)
            for name in names if number == 1 else [name for name in names if name not in ONCE]:
                measured[name].append(_measure(name, number, arguments))
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print()
    print(table(measured))
    return 0


def _measure(name: str, number: int, arguments: argparse.Namespace) -> Figures:
    sizes = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="jobhall-profile-") as folder:
        profile = Path(folder) if arguments.profile else None
        try:
            figures, level = run_workload(name, sizes, folder=arguments.folder, profile=profile)
        except BenchmarkError as error:
            raise BenchmarkError(f"{name}, round {number}: {error}") from error
        _say(workload=name, round=number, synchronous=level, **figures)
        for report in sorted(Path(folder).glob("*.json")):
            print(f"\n{name}, the {report.stem}: {profile_text(json.loads(report.read_text()))}\n", flush=True)
    return figures


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once: whether it works, not how fast it is")
    parser.add_argument("--only", default="", help=f"some of {', '.join(WORKLOADS)}, or what they begin with")
    parser.add_argument("--rounds", type=int, default=0, help="how often; the table has the medians (default 3)")
    parser.add_argument("--profile", action="store_true", help="show where each process spends its CPU; slows them")
    parser.add_argument("--folder", type=Path, help="where the databases are made: on the disk that is to be measured")
    return parser.parse_args()


def _chosen(only: str) -> list[str]:
    wanted = [word for word in only.split(",") if word]
    names = [name for name in WORKLOADS if not wanted or any(name.startswith(word) for word in wanted)]
    if not names:
        raise SystemExit(f"bench: there is no workload {only!r}; there are {', '.join(WORKLOADS)}")
    return names


def _say(**line: object) -> None:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}
    print(json.dumps(rounded), flush=True)


def _leave(number: int, _frame: object) -> NoReturn:
    """Out through every `finally`, so that nothing is left running."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
