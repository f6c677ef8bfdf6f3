"""Where every step of a workflow stands in its picture: columns, rows and curves, computed once per definition.

Called when a workflow or a task page draws its DAG, and by `tasker graph --svg`. Left to right; a step's column is the longest chain before it.
In the order in which a picture comes about: `net`, `order`, `grid`, `rows` with `straight`, `canvas`, `pictures`.
"""

from webapp.graph.measures import COLLAPSE_ABOVE, NODE_HEIGHT
from webapp.graph.net import TooTangled
from webapp.graph.pictures import Edge, GraphLayout, Node, collapse, layout, picture
from webapp.graph.svg import page_svg, standalone_svg

__all__ = ["COLLAPSE_ABOVE", "NODE_HEIGHT", "Edge", "GraphLayout", "Node", "TooTangled", "collapse", "layout", "page_svg", "picture", "standalone_svg"]
