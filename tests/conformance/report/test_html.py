"""The site of a matrix: what a reader finds on it, and that each file stands alone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from attncheck.defects import DEFECTS
from attncheck.engine.matrix import Judged
from attncheck.model.case import Case
from attncheck.model.cell import Absent, Record
from attncheck.model.finding import Finding
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict
from attncheck.report.changes import changed_cells
from attncheck.report.html import write_site

DEFECT = next(d for d in DEFECTS if d.mechanism == "multi_head")
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Text, addresses and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.links, self.tags = "", [], []
        self.rows: list[dict[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links += [facts[name] for name in ("href", "src") if name in facts]
        if tag == "tr" and "data-outcome" in facts:
            self.rows.append(facts)

    def handle_data(self, data: str) -> None:
        self.text += data


def judged(id: str, *verdicts: Verdict, outcome: str = "findings", message: str = "") -> Judged:
    record = Record(
        id=id, target=f"pkg.{id}:A", package="pkg", version="1.0", licence="MIT", mechanism="multi_head",
        adapter=None, outcome=outcome, message=message,  # type: ignore[arg-type]  # one of the outcomes
    )  # fmt: skip
    header = Header(f"pkg.{id}:A", "multi_head", ("built as A(dim=model_dim)",), versions={"torch": "2.13"})
    report = Report(header, {"mask_polarity": "true_attends"}, verdicts) if verdicts else None
    return Judged(record, report)


def broken(actual: str = "4.02", defect: str | None = DEFECT.id) -> Verdict:
    finding = Finding(
        "ignores_key_order", "out(k[p], v[p]) == out(k, v)", "the same", actual, Case({"batch": 1, "heads": 2}),
        sizes="heads > 1", defect=defect, script="import pkg\nassert False",
    )  # fmt: skip
    return Verdict("ignores_key_order", "law", "failed", 3, 3, findings=(finding,))


def passed(check: str = "samples_do_not_mix") -> Verdict:
    return Verdict(check, "law", "passed", 5, 5)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    cells = [
        judged("wrong", broken(), passed()),
        judged("right", passed(), outcome="conforms"),
        judged("hostile", broken(HOSTILE, None)),
        judged("strange", outcome="no adapter", message=f"could not find out {HOSTILE}"),
    ]
    write_site(tmp_path, cells, [Absent("pkg.cuda:K", "pkg", "needs a device")])
    return tmp_path


def test_the_table_has_a_row_for_every_target(site: Path) -> None:
    page = Page(site / "index.html")

    assert [row["data-outcome"] for row in page.rows] == ["findings", "conforms", "findings", "no adapter"]
    assert "1 of 2 broken" in page.text
    assert "needs a device" in page.text


def test_the_search_finds_a_target_by_its_defect_and_its_broken_claim(site: Path) -> None:
    words = Page(site / "index.html").rows[0]["data-text"]

    assert DEFECT.id in words
    assert "ignores_key_order" in words


def test_a_page_tells_conventions_case_sizes_defect_and_reproducer(site: Path) -> None:
    page = Page(site / "targets" / "wrong.html")

    for expected in (
        "mask polarity",
        "batch=1 heads=2",
        "where heads > 1",
        DEFECT.id,
        "import pkg",
        "built as A",
    ):
        assert expected in page.text
    assert f"../defects/{DEFECT.id}.html" in page.links


def test_a_page_of_a_defect_names_the_targets_it_was_met_in(site: Path) -> None:
    page = Page(site / "defects" / f"{DEFECT.id}.html")

    assert DEFECT.sentence in page.text
    assert "../targets/wrong.html" in page.links
    assert "../targets/hostile.html" not in page.links


def test_a_badge_is_svg_that_names_the_outcome(site: Path) -> None:
    badge = (site / "badges" / "right.svg").read_text(encoding="utf-8")

    assert badge.startswith("<svg")
    assert "attncheck: conforms" in badge


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page(path)
        assert not [link for link in page.links if "//" in link]
        assert "url(" not in path.read_text(encoding="utf-8")
        for link in page.links:
            if not link.startswith("#"):
                assert (path.parent / link).is_file(), f"{path.name} names {link}"


def test_words_of_a_target_are_text_and_never_markup(site: Path) -> None:
    for name in ("hostile", "strange"):
        page = Page(site / "targets" / f"{name}.html")
        assert HOSTILE in page.text
        assert "script" not in page.tags


def test_every_page_is_light_and_dark_and_readable_by_a_screen_reader(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in text
        assert '<html lang="en">' in text
        assert re.search(r'<meta name="viewport"', text)
        assert "Skip to the content" in text


def test_two_equal_matrices_have_no_changed_cell() -> None:
    assert changed_cells([judged("a", broken())], [judged("a", broken())]) == []


def test_exactly_the_changed_cells_are_named() -> None:
    fixed = Verdict("ignores_key_order", "law", "passed", 3, 3)
    old = [judged("a", broken(), passed()), judged("b", outcome="no adapter"), judged("c", passed())]
    new = [judged("a", fixed, passed()), judged("b", passed(), outcome="conforms")]

    lines = [str(change) for change in changed_cells(old, new)]

    assert lines == [
        "pkg.a:A · multi_head · ignores_key_order: failed → passed",
        "pkg.b:A · multi_head · the target: no adapter → conforms",
        "pkg.c:A · multi_head · the target: findings → absent",
    ]
