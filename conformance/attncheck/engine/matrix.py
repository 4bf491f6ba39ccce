"""The matrix: many targets, each judged in a process and an environment of its own, resumed where it stopped."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from attncheck.engine.environments import Environments, InstallError
from attncheck.engine.request import Budget
from attncheck.engine.run import versions
from attncheck.engine.targets_file import TargetsFile
from attncheck.model.cell import Absent, Cell, CellOutcome, Record, outcome_of, recorded
from attncheck.model.errors import UsageError
from attncheck.model.report import Report, ReportError, parse

_MESSAGE = 2000
Children = set[subprocess.Popen[str]]


@dataclass(frozen=True)
class Plan:
    """Which cells are judged, how, and where what came of them is kept."""

    file: TargetsFile
    cells: tuple[Cell, ...]
    out: Path
    environments: Environments
    jobs: int = 1
    budget: Budget = "default"
    seed: int = 0
    seconds: float = 900.0

    @property
    def folder(self) -> Path:
        """The folder of reports and records."""
        return self.out / "cells"

    def fingerprint(self, cell: Cell) -> str:
        """Equal for cells whose result may be taken from an earlier run."""
        files = (cell.package.prelude, cell.adapter and cell.adapter.rpartition(":")[0])
        texts = [self._text(name) for name in files if name]
        return cell.fingerprint(self.budget, self.seed, *versions().values(), *texts)

    def _text(self, name: str) -> str:
        path = self.file.folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""


@dataclass(frozen=True)
class Judged:
    """A cell that is done, with its report if there is one."""

    record: Record
    report: Report | None


@dataclass(frozen=True)
class Progress:
    """How far a matrix is; `left` is None until a first cell is done."""

    done: int
    planned: int
    running: tuple[str, ...]
    left: float | None
    last: Judged | None = None


@dataclass
class _Clock:
    """Estimates the time left from the cells of this run."""

    jobs: int
    spent: list[float] = field(default_factory=list)

    def left(self, cells: int) -> float | None:
        if not self.spent:
            return None
        return sum(self.spent) / len(self.spent) * cells / self.jobs


def judge_all(plan: Plan, tell: Callable[[Progress], None] = lambda _: None) -> list[Judged]:
    """Judge what is not judged yet; the whole matrix comes back in the order of its file."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    done = {cell.id: judged for cell in plan.cells if (judged := _kept(plan, cell))}
    waiting = [cell for cell in plan.cells if cell.id not in done]
    clock = _Clock(plan.jobs)
    running: dict[Future[Judged], str] = {}
    children: Children = set()
    tell(Progress(len(done), len(plan.cells), (), None))
    with _pool(plan.jobs, children) as pool:
        while waiting or running:
            while waiting and len(running) < plan.jobs:
                cell = waiting.pop(0)
                running[pool.submit(_one, plan, cell, children)] = cell.id
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                judged = future.result()
                done[running.pop(future)] = judged
                clock.spent.append(judged.record.preparing + judged.record.seconds)
                left = clock.left(len(waiting) + len(running))
                tell(Progress(len(done), len(plan.cells), tuple(running.values()), left, judged))
            tell(
                Progress(
                    len(done),
                    len(plan.cells),
                    tuple(running.values()),
                    clock.left(len(waiting) + len(running)),
                )
            )
    write_folder(plan.out, [done[cell.id] for cell in plan.cells], plan.file.absent)
    return [done[cell.id] for cell in plan.cells]


@contextlib.contextmanager
def _pool(jobs: int, children: Children) -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for children; an interruption takes the children down, too."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    except BaseException:
        for child in tuple(children):
            _end(child)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _one(plan: Plan, cell: Cell, children: Children) -> Judged:
    started = time.perf_counter()
    mark = plan.fingerprint(cell)
    _report_file(plan, cell).unlink(missing_ok=True)
    try:
        python = plan.environments.python(cell.package)
    except (InstallError, OSError) as error:
        record = recorded(cell, "not installed", mark)
        return _keep(plan, replace(record, message=str(error), preparing=time.perf_counter() - started))
    prepared = time.perf_counter()
    code, message = _child(plan, cell, python, children)
    report = read_report(_report_file(plan, cell))
    outcome = _outcome(code, report)
    if outcome == "timed out":
        message = f"not judged after {plan.seconds:.0f} s"
    return _keep(
        plan,
        replace(
            recorded(cell, outcome, mark),
            message="" if outcome in ("conforms", "findings") else message,
            preparing=prepared - started,
            seconds=time.perf_counter() - prepared,
        ),
    )


def _outcome(code: int | None, report: Report | None) -> CellOutcome:
    """What became of a run of its own that ended with this code and left this report."""
    if code is None:
        return "timed out"
    outcome = outcome_of(code) or "unusable"
    # A suite that crashes ends with 1 as well, but it writes no footer.
    if outcome == "findings" and report is None:
        return "unusable"
    # What was judged in part only, because its weights could not be matched, does not conform yet.
    if outcome == "no adapter" and report is not None:
        return "judged in part"
    return outcome


def _child(plan: Plan, cell: Cell, python: str, children: Children) -> tuple[int | None, str]:
    """The exit code, None after the time limit, and the last words of a run of its own."""
    child = subprocess.Popen(
        _command(plan, cell, python), cwd=plan.file.folder, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    children.add(child)
    try:
        _, errors = child.communicate(timeout=plan.seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        assert child.stderr is not None, "it was asked for"
        child.stderr.close()
        return None, ""
    finally:
        children.discard(child)
    return child.returncode, errors.strip()[-_MESSAGE:].removeprefix("attncheck: ")


def _command(plan: Plan, cell: Cell, python: str) -> list[str]:
    command = [python, "-m", "attncheck", "run", cell.target, "--quiet", "--budget", plan.budget]
    command += ["--seed", str(plan.seed), "--report", str(_report_file(plan, cell))]
    for option, value in (("--mechanism", cell.mechanism), ("--adapter", cell.adapter)):
        command += [option, value] if value else []
    for name, value in cell.init.items():
        command += ["--init", f"{name}={value}"]
    return command


def _end(child: subprocess.Popen[str]) -> None:
    """The child and what it started; workers share its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _kept(plan: Plan, cell: Cell) -> Judged | None:
    """The result of an earlier run of the same cell: its record is there and its report is whole."""
    judged = _read_cell(plan.folder / f"{cell.id}.json")
    if judged is None or judged.record.fingerprint != plan.fingerprint(cell):
        return None
    whole = judged.report is not None or judged.record.outcome not in ("conforms", "findings")
    return judged if whole else None


def _keep(plan: Plan, record: Record) -> Judged:
    """Write the record in one step, so that it is there whole or not at all."""
    path = plan.folder / f"{record.id}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(record.to_json()) + "\n", encoding="utf-8")
    draft.replace(path)
    return Judged(record, read_report(path.with_suffix(".jsonl")))


def _report_file(plan: Plan, cell: Cell) -> Path:
    return (plan.folder / f"{cell.id}.jsonl").resolve()


def read_report(path: Path) -> Report | None:
    """The report of a cell, None if there is none or it lacks its footer."""
    try:
        with path.open(encoding="utf-8") as file:
            reports = parse(file)
    except (OSError, ReportError, TypeError, KeyError, ValueError):
        return None
    return reports[-1] if reports and reports[-1].complete else None


def _read_cell(path: Path) -> Judged | None:
    try:
        record = Record.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return Judged(record, read_report(path.with_suffix(".jsonl")))


def write_folder(out: Path, judged: Sequence[Judged], absent: Sequence[Absent]) -> None:
    """The order of the cells and what is not there, as JSON lines beside the cells."""
    lines = [each.record.to_json() for each in judged]
    lines += [{"kind": "absent", **asdict(each)} for each in absent]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "matrix.jsonl").write_text(text, encoding="utf-8")


def read_folder(path: str) -> tuple[list[Judged], list[Absent]]:
    """A matrix that was written before. Raises UsageError if the folder holds none."""
    source = Path(path) / "matrix.jsonl"
    judged, absent = [], []
    try:
        for line in source.read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            if data.pop("kind") == "absent":
                absent.append(Absent(**data))
            else:
                record = Record.from_json(data)
                judged.append(Judged(record, read_report(Path(path) / "cells" / f"{record.id}.jsonl")))
    except OSError:
        raise UsageError(
            f"{path} holds no matrix: expected {source.name} in it (attncheck matrix writes it)"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{source} is no matrix of attncheck: {error}") from None
    return judged, absent
