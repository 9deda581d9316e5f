// A graph, laid out and drawn by vis-network.

class NetworkView {
  // events: {hover(row or null), select(row or null), touchObject(object)}
  constructor(root, events) {
    this.root = root;
    this.network = new vis.Network(root, {}, NETWORK_OPTIONS);
    this.network.on("hoverEdge", ({ edge }) => events.hover(edge));
    this.network.on("blurEdge", () => events.hover(null));
    root.addEventListener("pointerleave", () => events.hover(null));
    this.network.on("click", ({ nodes, edges }) => {
      if (nodes.length) events.touchObject(nodes[0]);
      else events.select(edges.length ? edges[0] : null);
    });
    this.network.on("stabilizationIterationsDone", () => this.settle());
    new ResizeObserver(() => this.resize()).observe(root);
  }

  show(model, description) {
    this.model = model;
    this.lit = [];
    this.theme = readTheme();
    this.bends = edgeBends(model.graph.relations);
    this.root.setAttribute("aria-label", description);
    this.network.setOptions({ physics: { enabled: true } });
    this.nodes = new vis.DataSet(model.graph.objects.map((_, index) => this.node(index)));
    this.edges = new vis.DataSet(model.graph.relations.map((_, row) => this.edge(row)));
    this.network.setData({ nodes: this.nodes, edges: this.edges });
    if (!model.graph.objects.length) this.settle();
  }

  // Once everything has its place, nothing moves by itself.
  settle() {
    this.network.setOptions({ physics: { enabled: false } });
    this.network.fit();
  }

  resize() {
    this.network.setSize("100%", "100%");
    this.network.redraw();
    this.network.fit();
  }

  setVisible(rows, objects) {
    const shown = new Set(rows);
    this.nodes.update(this.model.graph.objects.map((_, id) => ({ id, hidden: !objects.has(id) })));
    this.edges.update(this.model.graph.relations.map((_, id) => ({ id, hidden: !shown.has(id) })));
  }

  light(lit) {
    if (String(lit) === String(this.lit)) return;
    this.lit = lit;
    this.paint();
  }

  // After a change of theme.
  repaint() {
    if (!this.model) return;
    this.theme = readTheme();
    this.paint();
  }

  paint() {
    const { lit } = this;
    const { objects, relations } = this.model.graph;
    const joined = new Set(lit.flatMap((row) => endsOf(this.model.graph, row)));
    this.nodes.update(objects.map((_, index) => this.nodeStyle(index, this.opacity(joined.has(index)))));
    this.edges.update(relations.map((_, row) => this.edgeStyle(row, this.opacity(lit.includes(row)))));
  }

  opacity(isLit) {
    return this.lit.length && !isLit ? 0.25 : 1;
  }

  node(index) {
    const [color] = this.model.colors[index];
    return { label: shorten(this.model.names[index]), color, ...this.nodeStyle(index, 1) };
  }

  nodeStyle(id, opacity) {
    return { id, opacity, font: { color: withOpacity(this.model.colors[id][1], opacity) } };
  }

  edge(row) {
    const { subject, object, predicate } = this.model.graph.relations[row];
    const smooth = this.bends[row] ? { type: "curvedCW", roundness: this.bends[row] } : { enabled: false };
    return { from: subject, to: object, label: shorten(predicate), smooth, ...this.edgeStyle(row, 1) };
  }

  edgeStyle(id, opacity) {
    const verdict = this.model.verdicts[id];
    const isLit = this.lit.includes(id);
    const { theme } = this;
    return {
      id,
      color: { color: theme[isLit ? `${verdict}-lit` : verdict], opacity },
      dashes: verdict === "miss" ? [6, 4] : false,
      width: 1 + 3 * this.model.graph.relations[id].score + (isLit ? 2 : 0),
      font: { color: withOpacity(isLit ? theme.ink : theme.muted, opacity), strokeColor: theme.surface },
    };
  }
}

const NETWORK_OPTIONS = {
  layout: { randomSeed: 7 },
  nodes: { shape: "box", margin: 7, chosen: false, borderWidth: 0, shapeProperties: { borderRadius: 5 }, font: { size: 20 } },
  edges: {
    arrows: { to: { enabled: true, scaleFactor: 0.7 } },
    font: { size: 16, strokeWidth: 5 },
    chosen: false,
  },
  physics: {
    solver: "forceAtlas2Based",
    forceAtlas2Based: { gravitationalConstant: -80, springLength: 150, avoidOverlap: 0.7 },
    stabilization: { iterations: 150, fit: true },
  },
  // The wheel and two fingers scroll the page.
  interaction: { hover: true, zoomView: false, dragView: false, selectConnectedEdges: false, keyboard: false },
};

// How far each edge bends to its own left: 0 if it is the only one between two objects. Edges of the other direction
// bend to the other side; further edges of the same direction bend more.
function edgeBends(relations) {
  const key = (from, to) => `${from}-${to}`;
  const seen = new Map();
  const order = relations.map(({ subject, object }) => {
    const number = seen.get(key(subject, object)) ?? 0;
    seen.set(key(subject, object), number + 1);
    return number;
  });
  return relations.map(({ subject, object }, row) => {
    const isOnly = seen.get(key(subject, object)) === 1 && !seen.has(key(object, subject));
    return isOnly ? 0 : 0.2 + 0.2 * order[row];
  });
}

// Canvases do not know CSS variables.
function readTheme() {
  const names = ["plain", "hit", "miss"].flatMap((verdict) => [verdict, `${verdict}-lit`]);
  return Object.fromEntries([...names, "ink", "muted", "surface"].map((name) => [name, resolveColor(name)]));
}

// color is "#rrggbb" or "rgb(r, g, b)".
function withOpacity(color, opacity) {
  if (opacity === 1) return color;
  const parts = color.startsWith("#")
    ? [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16))
    : color.match(/[\d.]+/g).slice(0, 3);
  return `rgba(${parts.join(", ")}, ${opacity})`;
}
