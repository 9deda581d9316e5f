// A graph, laid out and drawn by vis-network.

class NetworkView {
  // events: {hover(row or null), select(row or null)}
  constructor(root, events) {
    this.root = root;
    this.nodes = new vis.DataSet();
    this.edges = new vis.DataSet();
    this.network = new vis.Network(root, { nodes: this.nodes, edges: this.edges }, NETWORK_OPTIONS);
    this.network.on("hoverEdge", ({ edge }) => events.hover(edge));
    this.network.on("blurEdge", () => events.hover(null));
    this.network.on("click", ({ nodes, edges }) => {
      if (nodes.length) events.touchObject(nodes[0]);
      else events.select(edges.length ? edges[0] : null);
    });
    this.network.on("stabilizationIterationsDone", () => this.settle());
    new ResizeObserver(() => this.network.fit()).observe(root);
  }

  show(model, description) {
    this.model = model;
    this.lit = [];
    this.root.setAttribute("aria-label", description);
    this.network.setOptions({ physics: { enabled: true } });
    // New sets in place of changed ones: the network lays out what is new.
    this.nodes = new vis.DataSet(model.graph.objects.map((_, index) => this.node(index)));
    this.edges = new vis.DataSet(model.graph.relations.map((_, row) => this.edge(row)));
    this.network.setData({ nodes: this.nodes, edges: this.edges });
    if (!model.graph.objects.length) this.settle();
  }

  // Nothing moves by itself once it has its place.
  settle() {
    this.network.setOptions({ physics: { enabled: false } });
    this.network.fit();
  }

  setVisible(rows, objects) {
    const shown = new Set(rows);
    this.nodes.update(this.model.graph.objects.map((_, id) => ({ id, hidden: !objects.has(id) })));
    this.edges.update(this.model.graph.relations.map((_, id) => ({ id, hidden: !shown.has(id) })));
  }

  light(lit) {
    this.lit = lit;
    this.repaint();
  }

  // Colours anew: another theme, or other lit edges.
  repaint() {
    if (!this.model) return;
    const joined = new Set(
      this.lit.flatMap((row) => [this.model.graph.relations[row].subject, this.model.graph.relations[row].object]),
    );
    const dim = (isLit) => (this.lit.length && !isLit ? 0.25 : 1);
    this.nodes.update(
      this.model.graph.objects.map((_, id) => ({ id, opacity: dim(joined.has(id)), ...this.nodeFont(id, dim(joined.has(id))) })),
    );
    this.edges.update(this.model.graph.relations.map((_, row) => this.edgeStyle(row, dim(this.lit.includes(row)))));
  }

  node(index) {
    const [background] = this.model.colors[index];
    const color = { background, border: background };
    return {
      id: index,
      label: shorten(this.model.names[index]),
      color: { ...color, highlight: color, hover: color },
      ...this.nodeFont(index, 1),
    };
  }

  nodeFont(index, opacity) {
    return { font: { color: withOpacity(this.model.colors[index][1], opacity) } };
  }

  edge(row) {
    const { subject, object, predicate } = this.model.graph.relations[row];
    return { from: subject, to: object, label: shorten(predicate), ...this.edgeStyle(row, 1) };
  }

  edgeStyle(row, opacity) {
    const verdict = this.model.verdicts[row];
    const isLit = this.lit.includes(row);
    const color = resolveColor(isLit ? `${verdict}-lit` : verdict);
    return {
      id: row,
      color: { color, hover: color, highlight: color, opacity },
      dashes: verdict === "miss" ? [6, 4] : false,
      width: 1 + 3 * this.model.graph.relations[row].score + (isLit ? 2 : 0),
      font: {
        color: withOpacity(resolveColor(isLit ? "ink" : "muted"), opacity),
        strokeColor: resolveColor("surface"),
      },
    };
  }
}

const NETWORK_OPTIONS = {
  layout: { randomSeed: 7 },
  nodes: { shape: "box", margin: 7, borderWidth: 0, shapeProperties: { borderRadius: 5 }, font: { size: 15 } },
  edges: {
    arrows: { to: { scaleFactor: 0.6 } },
    smooth: { type: "dynamic" },
    font: { size: 13, strokeWidth: 4 },
    hoverWidth: 0,
    selectionWidth: 0,
  },
  physics: {
    solver: "forceAtlas2Based",
    forceAtlas2Based: { gravitationalConstant: -70, springLength: 90, avoidOverlap: 0.6 },
    stabilization: { iterations: 150, fit: true },
  },
  // A wheel or two fingers scroll the page.
  interaction: { hover: true, zoomView: false, dragView: false, selectConnectedEdges: false, keyboard: false },
};

function shorten(name) {
  return name.length > 24 ? `${name.slice(0, 23)}…` : name;
}

// Of "#rrggbb" or "rgb(r, g, b)".
function withOpacity(color, opacity) {
  if (opacity === 1) return color;
  const parts = color.startsWith("#")
    ? [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16))
    : color.match(/[\d.]+/g).slice(0, 3);
  return `rgba(${parts.join(", ")}, ${opacity})`;
}
