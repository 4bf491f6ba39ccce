"""Wall time of a matrix, and the share of it that goes into judging targets.

Run: python tests/benchmarks/matrix.py docs/matrix/targets.toml [JOBS] [CACHE]
"""

import sys
import tempfile
import time
from pathlib import Path

from attncheck.engine.environments import Environments, default_cache
from attncheck.engine.matrix import Judged, Plan, judge_all
from attncheck.engine.targets_file import read
from attncheck.report.html import write_site


def main(path: str, jobs: int, cache: Path) -> None:
    """Judge everything anew and print where the time went."""
    file = read(path)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(file, file.cells, Path(folder), Environments(cache, file.folder), jobs, budget="quick")
        started = time.perf_counter()
        judged = judge_all(plan)
        seconds = time.perf_counter() - started
        write_site(Path(folder), judged, file.absent)
        site = time.perf_counter() - started - seconds
    tell(judged, seconds, site, jobs)


def tell(judged: list[Judged], wall: float, site: float, jobs: int) -> None:
    """Shares are of the time of all jobs together; what is neither is idle at the end."""
    whole = wall * jobs
    children = sum(each.record.seconds for each in judged)
    checks = sum(v.seconds for each in judged if each.report for v in each.report.verdicts)
    preparing = sum(each.record.preparing for each in judged)
    print(
        f"{len(judged)} targets, {jobs} jobs: {wall:.0f} s, {wall * jobs / len(judged):.1f} s a target and job"
    )
    print(f"  environments        {preparing / whole:6.1%}")
    print(f"  processes of runs   {children / whole:6.1%}")
    print(f"    of these, checks  {checks / whole:6.1%}  (the rest: imports and finding the adapter)")
    print(f"  the site            {site:6.1f} s")


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]) if len(sys.argv) > 2 else 2,
        Path(sys.argv[3]) if len(sys.argv) > 3 else default_cache(),
    )
