"""What `make demo` runs: a server, two workers, two files, and the sudden death of one worker half-way."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import jobhall
from display import Display, make_display
from make_data import FILES, ROWS_DEFAULT, SEED_DEFAULT, write_files
from processes import ProcessEndedError, Processes, start_server
from verify import Outcome, find_attempt_problems, find_problems

HERE = Path(__file__).resolve().parent
JOB_TYPE = "score_companies"
WORKERS = ("worker-1", "worker-2")
# A worker's death is noticed after these 3 s, where the default is 15: nobody wants to watch a demo wait.
SERVER_SETTINGS = {"JOBHALL_SESSION_TTL_SECONDS": "3", "JOBHALL_HEARTBEAT_SECONDS": "1"}
PACE_MS_DEFAULT = 8.0
FILE_SECONDS_MIN = 4.0
LOOK_SECONDS = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    rows: int
    seed: int
    pace_ms: float
    out: Path

    def files(self, scratch: Path) -> list[Path]:
        """The committed files, or newly made ones where other rows or another seed are wanted."""
        if (self.rows, self.seed) == (ROWS_DEFAULT, SEED_DEFAULT):
            return [HERE / "data" / name for name in FILES]
        return write_files(scratch / "data", rows=self.rows, seed=self.seed)


def main() -> int:
    options = _parse_options()
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, _exit_on_signal)
    with tempfile.TemporaryDirectory(prefix="jobhall-demo-") as folder:
        return _run(options, Path(folder))


def _run(options: Options, scratch: Path) -> int:
    """Run the whole demo with its files in `scratch`; the exit code is 0 only if every check holds."""
    sources = options.files(scratch)
    options.out.mkdir(parents=True, exist_ok=True)
    with Processes(scratch / "logs") as processes:
        try:
            address = start_server(processes, scratch, settings=SERVER_SETTINGS)
            print(f"server is process {processes.pid('server')} on {address}")
            for name in WORKERS:
                settings = {"JOBHALL_ADDRESS": address, "WORKER_NAME": name}
                processes.start(name, [sys.executable, HERE / "worker.py"], settings=settings)
                print(f"{name} is process {processes.pid(name)}")
            with jobhall.Client(address) as client:
                client.types.register(JOB_TYPE)  # so that jobs can wait before the first worker has come
                job_ids = [_submit(client, source, options) for source in sources]
                deadline = time.monotonic() + 60 + 4 * options.rows * options.pace_ms / 1000
                jobs = _follow(client, job_ids, processes, deadline=deadline)
        except (ProcessEndedError, TimeoutError, jobhall.ApiError) as error:
            print(f"the demo broke: {error}\n{processes.logs(lines=20)}", file=sys.stderr)
            return 1
    return _report(jobs, sources)


def _submit(client: jobhall.Client, source: Path, options: Options) -> str:
    """Submit a file's job; answers its id."""
    results = options.out / f"{source.stem}.scored.csv"
    results.unlink(missing_ok=True)  # an earlier run's must not pass for this one's
    return client.jobs.submit(
        JOB_TYPE,
        {"input": str(source), "output": str(results), "pace_ms": options.pace_ms},
        labels={"demo": "bulk-scoring"},
        file_info=jobhall.FileInfo(name=source.name, size_bytes=source.stat().st_size),
    ).id


def _follow(client: jobhall.Client, job_ids: list[str], processes: Processes, *, deadline: float) -> list[jobhall.Job]:
    """Show the jobs until both have ended; the first that is half-way loses its worker."""
    killed = ""
    with make_display() as display:
        while True:
            jobs = [client.jobs.get_job(job_id, include_errors=True) for job_id in job_ids]
            for job in jobs:
                display.show(_name(job), job)
            if all(job.done for job in jobs):
                return jobs
            if not killed:
                killed = _kill_half_way(jobs, processes, display)
            processes.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ended in time: {', '.join(_name(job) for job in jobs if not job.done)}")
            time.sleep(LOOK_SECONDS)


def _kill_half_way(jobs: list[jobhall.Job], processes: Processes, display: Display) -> str:
    """Kill the worker of the first job that is half-way, and answer with its name."""
    for job in jobs:
        total, processed = job.progress.items_total or 0, job.progress.items_processed
        if job.state is jobhall.JobState.RUNNING and job.current_task and 0 < total <= 2 * processed:
            victim = job.current_task.worker_name
            processes.kill(victim)
            display.note(f"{victim} killed with SIGKILL at row {processed} of {_name(job)}")
            return victim
    return ""


def _report(jobs: list[jobhall.Job], sources: list[Path]) -> int:
    for job in jobs:
        print(Outcome.of(job))
        for error in job.item_errors:
            print(f"  row {error.index} ({error.key}): {error.code}: {error.message}")
        if (unseen := job.item_error_count - len(job.item_errors)) > 0:
            print(f"  and {unseen} more")
    problems = find_attempt_problems(jobs)
    for job, source in zip(jobs, sources, strict=True):
        problems += find_problems(job, source)
    for problem in problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _name(job: jobhall.Job) -> str:
    return job.file_info.name if job.file_info else job.id


def _parse_options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help="rows of each file (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT, help="seed of the files (default %(default)s)")
    parser.add_argument(
        "--pace-ms",
        type=float,
        help=f"time a row takes; default {PACE_MS_DEFAULT:g}, more where a file would else take less than "
        f"{FILE_SECONDS_MIN:g} s and leave no time to kill anybody",
    )
    parser.add_argument(
        "--out", type=Path, default=HERE / "results", help="folder of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.rows < 1:
        parser.error("--rows must be at least 1")
    pace_ms = max(PACE_MS_DEFAULT, 1000 * FILE_SECONDS_MIN / arguments.rows)
    if arguments.pace_ms is not None:
        pace_ms = arguments.pace_ms
    return Options(rows=arguments.rows, seed=arguments.seed, pace_ms=pace_ms, out=arguments.out.resolve())


def _exit_on_signal(signal_number: int, _frame: object) -> NoReturn:
    """Leave through every `finally`, so that an interrupted demo leaves nothing running either."""
    for other in STOP_SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # an impatient second Ctrl-C must not interrupt the clean-up
    raise SystemExit(128 + signal_number)


if __name__ == "__main__":
    sys.exit(main())
