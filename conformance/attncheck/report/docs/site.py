"""Every generated page but that of the command line, by its path below `docs/`."""

from attncheck.defects import DEFECTS
from attncheck.report.docs.example import learned
from attncheck.report.docs.lists import checks, conventions, glossary, index_of_shapes
from attncheck.report.docs.mechanism import mechanism_page
from attncheck.report.docs.picture import picture
from attncheck.shapes.flows import flow_of
from attnref import MECHANISMS, Mechanism


def pages() -> dict[str, str]:
    """Path to text."""
    made = {
        "glossary.md": glossary(),
        "checks.md": checks(),
        "conventions.md": conventions(),
        "shapes/index.md": index_of_shapes(),
    }
    for mechanism in MECHANISMS:
        made |= {f"shapes/{name}": text for name, text in pages_of(mechanism).items()}
    return made


def pages_of(mechanism: Mechanism) -> dict[str, str]:
    """The page of one mechanism, which may be anybody's, and the picture that it shows."""
    flow = flow_of(mechanism)
    return {
        f"{mechanism.id}.md": mechanism_page(mechanism, flow, DEFECTS),
        f"pictures/{mechanism.id}.svg": picture(mechanism, flow, learned(mechanism)),
    }
