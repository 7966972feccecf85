"""Turn a figure's SVG into an element of a page: colours become CSS variables, ids become unique."""

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_DROPPED = {"metadata", "style"}
"""Elements that a page does not need; its style sheet says how lines are joined."""


def page_svg(svg: str, prefix: str, alternative: str, colours: Mapping[str, str]) -> str:
    """Return matplotlib's SVG as an `<svg>` element that scales with its container.

    Ids that something refers to get `prefix` and a number, so that several figures share a page; the others
    go. Each of `colours`, name → value, becomes the CSS variable `--NAME`; fonts are the page's.
    `alternative` is read out in the figure's place. The same SVG gives the same text.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 (our own, just written by matplotlib)
    _drop(root)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): value for name, value in element.attrib.items()}
        element.text, element.tail = ((text or "").strip() or None for text in (element.text, element.tail))
    names = {old: f"{prefix}-{place}" for place, old in enumerate(_referred(root))}
    variables = {value: f"var(--{name})" for name, value in colours.items()}
    for element in root.iter():
        element.attrib = dict(_attributes(element, names, variables))
    for group in root.iter("g"):
        _share_style(group)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alternative}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """Return a name without its namespace; HTML knows them all."""
    return name.rpartition("}")[2]


def _drop(parent: Element) -> None:
    """Remove what a page does not need, and definitions and groups that are empty."""
    for child in list(parent):
        _drop(child)
        empty = _local(child.tag) in {"defs", "g"} and not len(child)
        if empty or _local(child.tag) in _DROPPED:
            parent.remove(child)


def _target(value: str) -> str:
    """Return the id that a value refers to: `#ID` or `url(#ID)`; an empty string if it does not."""
    if value.startswith("url(#"):
        return value[5:-1]
    return value[1:] if value.startswith("#") else ""


def _referred(root: Element) -> list[str]:
    values = (e.attrib.get(name, "") for e in root.iter() for name in ("href", "clip-path"))
    return list(dict.fromkeys(filter(None, map(_target, values))))


def _attributes(
    element: Element, names: Mapping[str, str], variables: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield an element's attributes as the page has them."""
    for name, value in element.attrib.items():
        if name == "id":
            if value in names:
                yield name, names[value]
        elif name in {"href", "clip-path"} and _target(value):
            yield name, value.replace(_target(value), names[_target(value)])
        elif name == "style":
            yield name, _style(value, variables)
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue  # a turn by nothing
        elif name in {"d", "x", "y", "transform"}:
            yield name, _rounded(value)
        else:
            yield name, value


def _style(value: str, variables: Mapping[str, str]) -> str:
    """Return declarations without fonts, and with variables for colours."""
    pairs = (declaration.strip().partition(": ") for declaration in value.split(";"))
    kept = (pair for pair in pairs if pair[0] not in {"", "font-family"})
    return "; ".join(f"{name}: {variables.get(text, text)}" for name, _, text in kept)


def _rounded(value: str) -> str:
    """Round the numbers of a path or of a place to a hundredth of a point."""
    return " ".join(map(_hundredths, value.split()))


def _hundredths(word: str) -> str:
    try:
        return f"{round(float(word), 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # −0 is 0
    except ValueError:
        return word  # a command, or a part of `translate(1 2)`


def _share_style(group: Element) -> None:
    """Move the style of a group's marks to the group where they have it in common, as in every cloud."""
    marks = group.findall("use")
    styles = {mark.attrib.get("style", "") for mark in marks}
    if len(marks) > 1 and len(styles) == 1:
        group.set("style", styles.pop())
        for mark in marks:
            del mark.attrib["style"]
