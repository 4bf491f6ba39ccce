"""The site in a real browser: it filters, it keeps its address, and nothing on it fails."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from attncheck.engine.matrix import Judged
from attncheck.model.cell import Record
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict
from attncheck.report.html import write_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here; Debian's package is called chromium"
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    cells = []
    for name, mechanism, outcome in (("one", "cross", "conforms"), ("two", "multi_head", "findings")):
        record = Record(name, f"pkg:{name}", "pkg", "1", "MIT", mechanism, None, outcome)  # type: ignore[arg-type]
        verdict = Verdict("samples_do_not_mix", "law", "passed" if outcome == "conforms" else "failed", 1, 1)
        cells.append(Judged(record, Report(Header(f"pkg:{name}", mechanism), {}, (verdict,))))
    write_site(tmp_path, cells, [])
    return tmp_path


def opened(page: Path, fragment: str = "") -> str:
    """The page as the browser has it once its script ran."""
    assert CHROMIUM is not None, "the tests are skipped without it"
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    address = page.as_uri() + (f"#{fragment}" if fragment else "")
    return subprocess.run([*command, address], capture_output=True, text=True, check=True, timeout=120).stdout


def rows_shown(dom: str) -> list[str]:
    rows = re.findall(r'<tr data-mechanism="([^"]*)"[^>]*?(hidden="")?>', dom)
    return [mechanism for mechanism, hidden in rows if not hidden]


def test_without_a_filter_every_target_is_shown(site: Path) -> None:
    dom = opened(site / "index.html")

    assert rows_shown(dom) == ["cross", "multi_head"]
    assert "2 of 2 targets" in dom


@pytest.mark.parametrize(
    "fragment", ["mechanism=cross", "q=one", "outcome=conforms", "q=pkg&mechanism=cross"]
)
def test_an_address_with_a_filter_shows_only_what_fits(site: Path, fragment: str) -> None:
    dom = opened(site / "index.html", fragment)

    assert rows_shown(dom) == ["cross"]
    assert "1 of 2 targets" in dom


def test_claims_take_the_place_of_families(site: Path) -> None:
    dom = opened(site / "index.html", "columns=law")

    head = re.search(r"<thead>.*?</thead>", dom, re.DOTALL)
    assert head is not None
    families = re.findall(r'<th[^>]*class="family"[^>]*>', head[0])
    laws = re.findall(r'<th[^>]*data-family="law"[^>]*>', head[0])
    assert all("hidden" in cell for cell in families)
    assert laws
    assert not [cell for cell in laws if "hidden" in cell]


def test_a_page_is_drawn_light_and_dark(site: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None, "the tests are skipped without it"
    pictures = []
    for scheme in ("1", "0"):
        picture = tmp_path / f"{scheme}.png"
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={picture}"]
        command += [f"--blink-settings=preferredColorScheme={scheme}", (site / "index.html").as_uri()]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        pictures.append(picture.read_bytes())

    assert pictures[0] != pictures[1]
