"""The data flow of a mechanism as SVG with the shape on every arrow, in the colour of the text around it."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape

from attncheck.report.docs.layout import Box, Node, arrange
from attncheck.shapes.flow import Flow, Step, rows_of
from attncheck.shapes.table import Row
from attnref import Mechanism

_SANS, _MONO, _SMALL = 6.6, 6.7, 5.6  # width of a character at the sizes below, in pixels
_HIGH, _ROOM, _MARGIN = 30, 78, 14
_STEM = 40
_LEAST_SCALE = 0.8  # below it the shapes cannot be read, so the picture scrolls

_STYLE = """
.flow text { font: 12px system-ui, sans-serif; fill: currentColor; }
.flow .shape { font: 10.5px ui-monospace, Menlo, Consolas, monospace; opacity: .75; }
.flow .name { font-weight: 600; font-size: 11px; }
.flow .learned { font-size: 10px; opacity: .7; }
.flow rect { fill: currentColor; fill-opacity: .05; stroke: currentColor; stroke-width: 1; }
.flow .end { fill-opacity: 0; }
.flow .optional { stroke-dasharray: 4 3; }
.flow path { fill: none; stroke: currentColor; stroke-opacity: .55; stroke-width: 1.2; }
.flow marker path { fill: currentColor; fill-opacity: .7; stroke: none; }
"""


def picture(mechanism: Mechanism, flow: Flow, learned: Mapping[str, tuple[str, ...]]) -> str:
    """An SVG to stand inside a page of HTML."""
    tensors = rows_of(mechanism, flow)
    drawn = _Drawing(flow, tensors, learned)
    body = "\n".join(drawn.elements())
    title = escape(f"Data flow of {mechanism.id}: {'; '.join(_in_words(flow, tensors))}")
    width, height = drawn.size
    return (
        f'<div class="picture">\n'
        f'<svg class="flow" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" style="width: {width:.0f}px; height: auto; '
        f'max-width: 100%; min-width: {_LEAST_SCALE * width:.0f}px">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n"
        f'<defs><marker id="tip-{mechanism.id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>\n'
        f"{body.replace('#tip', f'#tip-{mechanism.id}')}\n</svg>\n</div>\n"
    )


def _in_words(flow: Flow, tensors: Mapping[str, Row]) -> Iterator[str]:
    for step in flow.steps:
        yield f"{', '.join(step.reads) or 'nothing'} → {step.does} → {step.gives} {tensors[step.gives].shape}"


class _Drawing:
    """Boxes, arrows and labels of one flow. A box is called as the tensor that leaves it."""

    def __init__(
        self, flow: Flow, tensors: Mapping[str, Row], learned: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.steps = {step.gives: step for step in flow.steps}
        self.tensors, self.learned = tensors, learned
        read = {name: None for step in flow.steps for name in step.reads if name not in self.steps}
        ends = [name for name, step in self.steps.items() if not step.shape]
        boxes = [self._box(name) for name in (*read, *self.steps)]
        boxes += [Box(f"{name}!", _half(name), _half(name), (name,)) for name in ends]
        self.nodes = arrange(boxes)

    def _box(self, name: str) -> Box:
        step = self.steps.get(name)
        half = max(_half(step.does if step else name), *(_half(t, _SMALL) for t in self._second(step)), 0.0)
        label = 10 + max(len(_shape(self.tensors[name])) * _MONO, len(name) * _SANS)
        return Box(name, half, max(half, label), step.reads if step else ())

    def _second(self, step: Step | None) -> tuple[str, ...]:
        """The second line of a box: what is learned there."""
        if step is None or not step.learns:
            return ()
        return tuple(f"{name} {_listed(self.learned[name])}" for name in step.learns)

    @property
    def size(self) -> tuple[float, float]:
        wide = max(node.x + node.right for node in self.nodes.values())
        return wide + 2 * _MARGIN, max(self._bottom(n) for n in self.nodes.values()) + _MARGIN

    def elements(self) -> Iterator[str]:
        for node in self.nodes.values():
            yield from self._arrows(node)
        for node in self.nodes.values():
            if not node.is_bend:
                yield from self._drawn_box(node)

    def _height(self, node: Node) -> float:
        return _HIGH + 13 * len(self._second(self.steps.get(node.id)))

    def _top(self, layer: int) -> float:
        heights = [0.0] * (layer + 1)
        for node in self.nodes.values():
            if node.layer < layer:
                heights[node.layer] = max(heights[node.layer], self._height(node))
        return _MARGIN + sum(heights[:layer]) + _ROOM * layer

    def _bottom(self, node: Node) -> float:
        return self._top(node.layer) + self._height(node)

    def _arrows(self, node: Node) -> Iterator[str]:
        """The way out of a box: a stem with the label, then a curve to every reader."""
        x = node.x + _MARGIN
        # A bend passes its row beside the highest box, and a stem reaches below the labels.
        start = self._top(node.layer) if node.is_bend else self._bottom(node)
        end = self._top(node.layer + 1) - _ROOM + _STEM
        if node.out_of:
            yield f'<path d="M{x:.1f} {start:.1f}V{end:.1f}"/>'
        for below in node.out_of:
            target = self.nodes[below]
            to_x, to_y = self._port(target, node.id) + _MARGIN, self._top(target.layer)
            tip = "" if target.is_bend else ' marker-end="url(#tip)"'
            middle = (end + to_y) / 2
            curve = f"{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
            yield f'<path d="M{x:.1f} {end:.1f}C{curve}"{tip}/>'

    def _port(self, target: Node, source: str) -> float:
        """Where an arrow enters: in the order of where arrows come from, evenly over the box."""
        if target.is_bend or len(target.into) == 1:
            return target.x
        order = sorted(target.into, key=lambda name: self.nodes[name].x)
        wide = min(self._box(target.id).left, 14.0 * len(order))
        return target.x + wide * (2 * (order.index(source) + 1) / (len(order) + 1) - 1)

    def _drawn_box(self, node: Node) -> Iterator[str]:
        x, y, high = node.x + _MARGIN, self._top(node.layer), self._height(node)
        name = node.id.removesuffix("!")
        step = None if node.id.endswith("!") else self.steps.get(name)
        half = self._box(name).left if step else _half(name)
        kind = "" if step else ("end optional" if self.tensors[name].optional else "end")
        radius = 5 if step else high / 2
        yield (
            f'<rect class="{kind}" x="{x - half:.1f}" y="{y:.1f}" width="{2 * half:.1f}" '
            f'height="{high:.1f}" rx="{radius}"/>'
        )
        style = "" if step else ' class="name"'
        yield _text(x, y + 19, step.does if step else name, style)
        for line, learned in enumerate(self._second(step)):
            yield _text(x, y + 33 + 13 * line, learned, ' class="learned"')
        if node.out_of:
            yield from self._label(node, name, step)

    def _label(self, node: Node, name: str, step: Step | None) -> Iterator[str]:
        x, y = node.x + _MARGIN + 7, self._bottom(node)
        if step:
            yield _text(x, y + 16, name, ' class="name"', anchor="start")
        yield _text(x, y + (29 if step else 22), _shape(self.tensors[name]), ' class="shape"', anchor="start")


def _half(text: str, character: float = _SANS) -> float:
    """Half the width of a box around a text."""
    return len(text) * character / 2 + 12


def _shape(row: Row) -> str:
    return _listed(row.forms[0])


def _listed(extents: Iterable[str]) -> str:
    return "(" + ", ".join(_tight(extent) for extent in extents) + ")"


def _tight(extent: str) -> str:
    """An expression without spaces, so that the commas between dimensions are what separates."""
    return extent.replace("*", "·").replace(" ", "")


def _text(x: float, y: float, text: str, style: str, anchor: str = "middle") -> str:
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
