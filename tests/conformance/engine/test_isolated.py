"""Targets that crash, hang, print and lie: they cost one answer, and the next one is right."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from attncheck.engine import worker
from attncheck.engine.child import Child, forked
from attncheck.engine.isolated import Forked, Isolated
from attncheck.engine.openers import open_file, open_reference
from attncheck.engine.put import InProcess
from attncheck.engine.server import fork_server
from attncheck.engine.session import Inquiry, Limits, TargetTroubleError
from attncheck.model.case import Case
from attncheck.model.errors import UsageError
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

MECHANISM = BY_ID["scaled_dot_product"]
SUBJECT = Subject(MECHANISM, Reference(MECHANISM).interface)
# Generous for an honest call on a busy machine, short for those that never end.
LIMITS = Limits(seconds_per_call=5.0)
SABOTEUR = """
import ctypes, os, signal, sys, threading, time
import torch
from attnref.catalogue import BY_ID
from attncheck.targets.adapter import Reference

def prank():
{prank}

class Saboteur(Reference):
    def build(self, names):
        if names["heads"] == 13:
            os._exit(5)
        return super().build(names)

    def call(self, built, inputs, options):
        result = super().call(built, inputs, options)
        if inputs["q"].shape[1] == 11:
            prank()
        return result

target = Saboteur(BY_ID["scaled_dot_product"])
"""


def ask(heads: int = 3, seed: int = 0, **changes: object) -> Ask:
    sizes = {"batch": 2, "heads": heads, "q_len": 5, "kv_len": 7, "head_dim": 17, "v_dim": 19}
    return SUBJECT.ask(Case(sizes, seed=seed), **changes)


def honest(question: Ask) -> torch.Tensor:
    return InProcess(Reference(MECHANISM)).put([question])[0].out


def write(folder: Path, prank: str) -> dict[str, str]:
    path = folder / "saboteur.py"
    path.write_text(SABOTEUR.format(prank=textwrap.indent(textwrap.dedent(prank), "    ")))
    return {"path": str(path), "name": "target"}


def isolated(arguments: dict[str, str], limits: Limits = LIMITS) -> Isolated:
    return Isolated("attncheck.engine.openers:open_file", arguments, limits)


def reference(limits: Limits = LIMITS) -> Isolated:
    return Isolated("attncheck.engine.openers:open_reference", {"mechanism": MECHANISM.id}, limits)


def test_isolated_answers_are_those_of_the_same_process():
    asks = [ask(seed=seed, gradients=("q", "v")) for seed in range(3)]
    asks += [ask(dtype="bfloat16", parameters={}), ask(scenario="twice")]

    with reference() as executor:
        answers = executor.put(asks)

    for answer, expected in zip(answers, InProcess(Reference(MECHANISM)).put(asks), strict=True):
        assert answer.trouble is None
        assert answer.tensors.keys() == expected.tensors.keys()
        assert all(torch.equal(answer.tensors[n], t) for n, t in expected.tensors.items())
        assert {**expected.facts, "patched": []} == answer.facts


def test_the_interface_arrives_as_the_adapter_has_it():
    with reference() as executor:
        assert executor.interface == open_reference(MECHANISM.id).interface


def test_more_questions_than_one_message_holds_are_all_answered_in_order():
    asks = [ask(seed=seed) for seed in range(300)]

    with reference() as executor:
        answers = executor.put(asks)

    assert len(answers) == len(asks)
    for index in (0, 127, 128, 299):
        assert torch.equal(answers[index].out, honest(asks[index]))


@pytest.mark.parametrize(
    ("prank", "kind"),
    [
        ("os._exit(0)", "exit code 0"),
        ("os._exit(3)", "exit code 3"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("while True: pass", "time limit"),
        ("ctypes.PyDLL(None).sleep(1000)", "time limit"),
        ("while True: print('again')", "time limit"),
        ("os.fork() and os._exit(9) or time.sleep(1000)", "exit code 9"),
    ],
)
def test_what_takes_the_process_is_named_and_costs_one_answer(tmp_path, prank, kind):
    asks = [ask(seed=1), ask(heads=11), ask(seed=2)]

    with isolated(write(tmp_path, prank), Limits(seconds_per_call=3.0)) as executor:
        first, lost, last = executor.put(asks)

    assert lost.trouble is not None
    assert (lost.trouble.stage, lost.trouble.kind, lost.trouble.lost) == ("forward", kind, True)
    assert torch.equal(first.out, honest(asks[0]))
    assert torch.equal(last.out, honest(asks[2]))


def test_time_that_others_take_of_the_machine_is_none_of_the_targets(tmp_path):
    """Six share one processor, so that a second of computing takes six."""
    crowded = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        others = 1
        while others < 6 and os.fork():
            others += 1
        own = others == 6
        end = time.process_time() + 1.0
        while time.process_time() < end: pass
        own or os._exit(0)
    """

    with isolated(write(tmp_path, crowded), Limits(seconds_per_call=3.0)) as executor:
        (answer,) = executor.put([ask(heads=11)])

    assert answer.trouble is None


@pytest.mark.parametrize(
    ("prank", "kind"),
    [
        ("sys.exit(4)", "SystemExit"),
        ("torch.empty(100 << 30, dtype=torch.uint8)", "RuntimeError"),
        ("bytearray(100 << 30)", "MemoryError"),
        ("prank()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_raises_is_trouble_and_keeps_the_process(tmp_path, prank, kind):
    asks = [ask(heads=11), ask(seed=2)]

    with isolated(write(tmp_path, prank)) as executor:
        raised, last = executor.put(asks)

    assert raised.trouble is not None
    assert (raised.trouble.kind, raised.trouble.lost) == (kind, False)
    assert torch.equal(last.out, honest(asks[1]))


@pytest.mark.parametrize(
    "prank", ["print('x' * 10_000_000)", "for _ in range(100_000): print('x' * 99)", "sys.stdin.read()"]
)
def test_printing_and_reading_change_no_answer(tmp_path, prank):
    asks = [ask(heads=11), ask(seed=2)]

    with isolated(write(tmp_path, prank)) as executor:
        answers = executor.put(asks)

    for answer, question in zip(answers, asks, strict=True):
        assert torch.equal(answer.out, honest(question))


def test_garbage_on_every_descriptor_is_a_broken_protocol_of_that_question(tmp_path):
    prank = """
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"garbage" * 9)
        except OSError:
            pass
    """
    asks = [ask(seed=1), ask(heads=11), ask(seed=2)]

    with isolated(write(tmp_path, prank)) as executor:
        first, lost, last = executor.put(asks)

    assert lost.trouble is not None
    assert (lost.trouble.kind, lost.trouble.lost) == ("broken protocol", True)
    assert torch.equal(first.out, honest(asks[0]))
    assert torch.equal(last.out, honest(asks[2]))


def test_a_lost_server_is_started_again(tmp_path):
    asks = [ask(seed=1), ask(heads=11), ask(seed=2)]

    with isolated(write(tmp_path, "os.kill(os.getppid(), signal.SIGKILL); time.sleep(1000)")) as executor:
        first, lost, last = executor.put(asks)

    assert lost.trouble is not None
    assert lost.trouble.lost
    assert torch.equal(first.out, honest(asks[0]))
    assert torch.equal(last.out, honest(asks[2]))


def test_the_message_ends_with_the_last_line_that_was_printed(tmp_path):
    with isolated(write(tmp_path, "print('one'); print('out of luck'); os._exit(1)")) as executor:
        (lost,) = executor.put([ask(heads=11)])

    assert str(lost.trouble) == "exit code 1: the process ended; its last output: out of luck"


def test_a_crash_in_the_constructor_is_told_from_one_in_a_call(tmp_path):
    with isolated(write(tmp_path, "pass")) as executor:
        lost, last = executor.put([ask(heads=13), ask()])

    assert lost.trouble is not None
    assert (lost.trouble.stage, lost.trouble.kind) == ("constructor", "exit code 5")
    assert last.trouble is None


def test_after_three_losses_in_a_row_the_rest_is_not_asked_and_the_next_put_tries_again(tmp_path):
    asks = [ask(heads=11, seed=seed) for seed in range(40)]

    with isolated(write(tmp_path, "os._exit(1)")) as executor:
        answers = executor.put(asks)
        again = executor.put([ask()])

    messages = [answer.trouble.message for answer in answers if answer.trouble]
    assert [message.startswith("not asked: the last 3 workers") for message in messages] == [False] * 3 + [
        True
    ] * 37
    assert torch.equal(again[0].out, honest(ask()))


@pytest.mark.parametrize(
    ("prank", "name"),
    [
        ("torch.allclose = lambda *a, **k: True", "torch.allclose"),
        ("torch.Tensor.matmul = lambda a, b: a", "torch.Tensor.matmul"),
        ("torch.nn.functional.softmax = lambda x, dim: x", "torch.nn.functional.softmax"),
    ],
)
def test_a_replaced_function_of_torch_is_a_fact(tmp_path, prank, name):
    with isolated(write(tmp_path, prank)) as executor:
        before, after = executor.put([ask()])[0], executor.put([ask(heads=11)])[0]

    assert (before.facts["patched"], after.facts["patched"]) == ([], [name])
    assert torch.equal(after.out, honest(ask(heads=11)))


def test_loading_torchs_compiler_is_not_taken_for_a_replaced_function(tmp_path):
    with isolated(write(tmp_path, "import torch._dynamo"), Limits(seconds_per_call=60.0)) as executor:
        (answer,) = executor.put([ask(heads=11)])

    assert answer.facts["patched"] == []


def test_other_inputs_than_the_judge_asked_for_are_noticed(tmp_path):
    prank = "import attncheck.targets.bench as bench; bench.digest = lambda tensor: 7"

    with isolated(write(tmp_path, prank)) as executor:
        executor.put([ask(heads=11)])
        (answer,) = executor.put([ask()])

    assert answer.trouble is not None
    assert answer.trouble.kind == "inputs tampered"


@pytest.mark.parametrize(
    ("source", "kind", "lost"),
    [
        ("import os; os._exit(0)", "exit code 0", True),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV", True),
        ("raise SystemExit(0)", "SystemExit", False),
        ("1 / 0", "ZeroDivisionError", False),
    ],
)
def test_an_import_that_fails_is_trouble_for_every_question(tmp_path, source, kind, lost):
    (tmp_path / "broken.py").write_text(source)

    with isolated({"path": str(tmp_path / "broken.py"), "name": "target"}) as executor:
        answers = executor.put([ask(seed=seed) for seed in range(7)])

    troubles = {(a.trouble.stage, a.trouble.kind, a.trouble.lost) for a in answers if a.trouble}
    assert (len(answers), troubles) == (7, {("import", kind, lost)})


def test_wrong_usage_is_raised_in_the_judge(tmp_path):
    executor = isolated({"path": str(tmp_path / "absent.py"), "name": "target"})

    with pytest.raises(UsageError, match=r"expected a Python file with an adapter, got .*absent\.py"):
        executor.put([ask()])


def test_only_functions_of_attncheck_can_be_named():
    executor = Isolated("os:getcwd", {})

    with pytest.raises(UsageError, match="expected a function of attncheck, got 'os:getcwd'"):
        _ = executor.interface


def test_watched_memory_ends_a_target_that_takes_more(tmp_path):
    prank = "held = torch.ones(1 << 28, dtype=torch.float64); time.sleep(1000)"
    limits = Limits(seconds_per_call=60.0, bytes_of_memory=1 << 30, device="cuda")

    # The questions stay on the CPU: what is under test is the watch, not CUDA.
    with isolated(write(tmp_path, prank), limits) as executor:
        lost, last = executor.put([ask(heads=11), ask()])

    assert lost.trouble is not None
    assert lost.trouble.kind == "out of memory"
    assert last.trouble is None


def test_a_closed_executor_leaves_no_process(tmp_path):
    (tmp_path / "pids").write_text("")
    prank = f"open({str(tmp_path / 'pids')!r}, 'w').write(str(os.getpid()))"

    with isolated(write(tmp_path, prank)) as executor:
        executor.put([ask(heads=11)])
    pid = int((tmp_path / "pids").read_text())

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("prank", "kind"), [("os._exit(0)", "exit code 0"), ("ctypes.string_at(0)", "SIGSEGV")]
)
def test_an_object_without_a_path_runs_in_a_fork(tmp_path, prank, kind):
    adapter = open_file(**write(tmp_path, prank))
    asks = [ask(seed=1), ask(heads=11), ask(seed=2)]

    with Forked(adapter, LIMITS) as executor:
        first, lost, last = executor.put(asks)
        interface = executor.interface

    assert lost.trouble is not None
    assert (lost.trouble.kind, interface) == (kind, adapter.interface)
    assert torch.equal(first.out, honest(asks[0]))
    assert torch.equal(last.out, honest(asks[2]))


def test_an_interrupt_between_question_and_answer_mixes_up_no_answers():
    many = [ask(seed=2)] * 5000

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with reference() as executor:
        executor.put([ask()])
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            executor.put(many)
        signal.signal(signal.SIGALRM, before)
        (answer,) = executor.put([ask(seed=1)])

    assert torch.equal(answer.out, honest(ask(seed=1)))


def _counts(progress: Callable[[object], None], end: str) -> dict[str, object]:
    for step in range(3):
        progress({"step": step})
    {"well": lambda: None, "crash": lambda: os._exit(7), "raise": lambda: 1 / 0}[end]()
    return {"found": [1, 2]}


class ForkedInquiry(Inquiry):
    """Runs the function above, which no other process could import."""

    def _start(self) -> Child:
        return forked(open_reference("cross"), fork_server(), 4 << 30, False)


@pytest.fixture
def inquiry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inquiry]:
    monkeypatch.setattr(worker, "our", lambda name: _counts)
    with ForkedInquiry() as inquiry:
        yield inquiry


def test_an_inquiry_gives_its_result_and_tells_what_happens_on_the_way(inquiry):
    events: list[object] = []

    result = inquiry.run("attncheck.any:function", {"end": "well"}, events.append)

    assert result == {"found": [1, 2]}
    assert events == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_an_inquiry_that_crashes_names_the_crash_and_how_far_it_came(inquiry):
    with pytest.raises(TargetTroubleError, match="exit code 7: the process ended") as caught:
        inquiry.run("attncheck.any:function", {"end": "crash"})

    assert caught.value.progress == {"step": 2}
    assert inquiry.run("attncheck.any:function", {"end": "well"}) == {"found": [1, 2]}


def test_an_inquiry_that_raises_is_trouble(inquiry):
    with pytest.raises(TargetTroubleError, match="ZeroDivisionError: division by zero") as caught:
        inquiry.run("attncheck.any:function", {"end": "raise"})

    assert not caught.value.trouble.lost


def test_server_and_workers_end_with_a_judge_that_is_killed(tmp_path):
    pids = tmp_path / "pids"
    prank = f"open({str(pids)!r}, 'w').write(f'{{os.getppid()}} {{os.getpid()}} '); time.sleep(1000)"
    arguments = write(tmp_path, prank)
    script = f"""
from pathlib import Path
from attncheck.engine import worker
from attncheck.engine.child import Child, forked
from attncheck.engine.isolated import Isolated
from attncheck.targets.ask import Ask
import json
ask = Ask.from_json(json.loads(Path({str(tmp_path / "ask")!r}).read_text()))
Isolated("attncheck.engine.openers:open_file", {arguments!r}).put([ask])
"""
    (tmp_path / "ask").write_text(json.dumps(ask(heads=11).to_json()))
    judge = subprocess.Popen([sys.executable, "-c", script])
    _until(lambda: pids.exists() and pids.read_text().endswith(" "))

    judge.kill()
    judge.wait()

    for pid in pids.read_text().split():
        _until(lambda pid=int(pid): not _runs(pid))


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        # An orphan that nobody has reaped yet does not run.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_server_answers_after_it_was_stopped():
    fork_server().stop()

    with reference() as executor:
        (answer,) = executor.put([ask()])

    assert answer.trouble is None


def test_what_torch_needs_to_compile_is_no_part_of_the_time_of_a_call(tmp_path):
    with isolated(write(tmp_path, "time.sleep(2)"), Limits(seconds_per_call=1.0)) as executor:
        (plain,) = executor.put([ask(heads=11)])
        (exported,) = executor.put([ask(heads=11, scenario="exported")])

    assert "time limit" in str(plain.trouble)
    assert exported.trouble is None
