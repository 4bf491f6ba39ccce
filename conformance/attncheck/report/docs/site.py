"""Every generated page but that of the command line, by its path below `docs/`."""

from attncheck.defects import DEFECTS
from attncheck.report.docs.example import learned
from attncheck.report.docs.lists import checks, conventions, glossary, index_of_shapes
from attncheck.report.docs.mechanism import mechanism_page
from attncheck.report.docs.picture import picture
from attncheck.shapes.flows import FLOWS
from attnref import MECHANISMS


def pages() -> dict[str, str]:
    """Path to text."""
    made = {
        "glossary.md": glossary(),
        "checks.md": checks(),
        "conventions.md": conventions(),
        "shapes/index.md": index_of_shapes(),
    }
    for mechanism in MECHANISMS:
        flow = FLOWS[mechanism.id]
        made[f"shapes/{mechanism.id}.md"] = mechanism_page(mechanism, flow, DEFECTS)
        made[f"shapes/pictures/{mechanism.id}.svg"] = picture(mechanism, flow, learned(mechanism))
    return made
