"""A tree of lineage as it is printed."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree

from tsfm.tracking.ancestry import Node
from tsfm.tracking.console import stdout

WIDEST = 10_000
"""Where no terminal breaks lines, they stay whole."""

STYLES = {"model": "bold green", "run": "bold blue", "panel": "bold magenta", "note": "yellow"}


def tree_of(node: Node) -> Tree:
    """A node and all beneath it."""
    tree = Tree(_label(node))
    for child in node.children:
        tree.add(tree_of(child))
    return tree


def show_tree(node: Node) -> None:
    """Print it."""
    console = stdout(WIDEST, highlight=False)
    console.print(tree_of(node), soft_wrap=True)


def _label(node: Node) -> Text:
    label = Text()
    if node.role:
        label.append(f"{node.role}: ", "dim")
    kind = "" if node.kind == "note" else f"{node.kind} "
    label.append(f"{kind}{node.title}", STYLES.get(node.kind, ""))
    width = max(map(len, node.facts), default=0)
    for name, value in node.facts.items():
        label.append(f"\n  {name:<{width}}  ", "dim")
        label.append(value)
    return label
