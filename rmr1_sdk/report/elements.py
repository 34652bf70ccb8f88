"""HTML and SVG as trees of elements; only the serializer writes markup, so text stays text."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, tostring

__all__ = ["Child", "Element", "as_html", "el"]

Child = Element | str | None


def el(tag: str, attributes: Mapping[str, object] | None = None, *children: Child) -> Element:
    """An element with its attributes and children. None is left out, among both."""
    given = {name: _text(value) for name, value in (attributes or {}).items() if value is not None}
    element = Element(tag, given)
    for child in children:
        if isinstance(child, str):
            _append_text(element, child)
        elif child is not None:
            element.append(child)
    return element


def as_html(element: Element) -> str:
    """The element as HTML. What `script` and `style` hold is written as it is."""
    return tostring(element, encoding="unicode", method="html")


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _append_text(element: Element, text: str) -> None:
    """ElementTree keeps the text after a child with that child."""
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
