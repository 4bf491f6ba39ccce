"""The sizes of a finding are those at which the implementation is wrong, not those at which a law has something to say."""

from attncheck.checks import BY_ID as CHECKS
from attncheck.defects import BY_ID as DEFECTS
from attncheck.diagnosis.predicates import equivalent
from attncheck.engine.correct import made
from attncheck.engine.explaining import Scripts, sized, space_of
from attncheck.engine.judging import Known, judge
from attncheck.engine.opening import Opened
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import Request
from attncheck.model.finding import Finding
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID


def told(mistake: str, check: str) -> tuple[Opened, Finding]:
    """What is said of the first case at which a check finds a mistake."""
    defect = DEFECTS[mistake]
    subject = Subject(BY_ID[defect.mechanism], Reference(BY_ID[defect.mechanism]).interface)
    opened = Opened(subject, InProcess(made(defect.mechanism, defect)), None, False)
    verdict = judge(
        CHECKS[check], subject, cases(CHECKS[check], subject, "default", 0), opened.executor, Known()
    )
    request = Request(mistake, defect.mechanism, seed=0)
    return opened, sized(CHECKS[check], opened, verdict.findings[0], request, lambda _: None, Scripts())


def test_a_law_that_needs_two_samples_does_not_lend_them_to_the_sizes() -> None:
    """A softmax over samples is wrong for one of them too: its weights are all one."""
    opened, finding = told("additive.softmax_over_batch", "samples_do_not_mix")

    assert equivalent(finding.sizes, "batch > 1 or kv_len > 1", space_of(opened))


def test_options_that_hide_a_mistake_are_held_where_no_few_words_say_it_with_them() -> None:
    opened, finding = told("scaled_dot_product.scale_missing", "matches_the_reference")

    assert finding.within == "causal=False, alignment=upper_left, scale=None, soft_cap=None"
    assert equivalent(str(finding.sizes), "head_dim > 1 and kv_len > 1", space_of(opened))


def test_an_option_that_a_law_sets_by_itself_is_among_the_sizes() -> None:
    """What hides the future asks for it, whatever the case says."""
    opened, finding = told("scaled_dot_product.causal_ignored", "causal_sees_no_future")
    space = space_of(opened).holding({"scale": None, "soft_cap": None, "alignment": "upper_left"})

    assert equivalent(str(finding.sizes), "causal and kv_len > 1", space)
