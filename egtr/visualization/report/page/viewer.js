// One record - an image, its graph, perhaps explanations and annotations - as panels that light up together.

const PANEL_NAMES = { prediction: "Prediction", truth: "Ground truth" };

class Panel {
  constructor(kind, events) {
    this.kind = kind;
    this.image = element("div", { class: "image" });
    this.network = element("div", { class: "network", role: "img" });
    this.list = element("ol", { class: "triplets", "aria-label": `${PANEL_NAMES[kind]}: triplets` });
    this.heading = element("h2", {}, PANEL_NAMES[kind]);
    this.root = element("section", { class: "panel", "data-panel": kind }, this.heading, this.image, this.network, this.list);
    this.events = events;
    this.imageView = new ImageView(this.image, events);
  }

  show(model, source, name) {
    this.model = model;
    // At first everything is drawn.
    this.rows = null;
    // Made late, because a network has no size before it has a place on the page.
    this.networkView ??= new NetworkView(this.network, this.events);
    const size = `${counted(model.graph.objects.length, "object")}, ${counted(model.graph.relations.length, "relation")}`;
    this.imageView.show(model, source, `${name}: ${size}`);
    this.networkView.show(model, `${PANEL_NAMES[this.kind]}, graph of ${name}: ${size}. The list of triplets has the same content.`);
    this.list.replaceChildren(...model.graph.relations.map((_, row) => this.item(row)));
  }

  item(row) {
    const { graph, names, colors, verdicts, notes } = this.model;
    const { subject, object, predicate } = graph.relations[row];
    const name = (index) =>
      element("span", { class: "chip", style: `background: ${colors[index][0]}; color: ${colors[index][1]}` }, names[index]);
    const button = element(
      "button",
      {
        type: "button",
        "data-row": row,
        class: verdicts[row],
        onpointerenter: (event) => event.pointerType === "mouse" && this.events.hover(row),
        onpointerleave: (event) => event.pointerType === "mouse" && this.events.hover(null),
        onclick: () => this.events.select(row),
      },
      element("span", { class: "words" }, name(subject), ` ${predicate} `, name(object)),
      element("span", { class: "remark" }, notes[row]),
    );
    return element("li", {}, button);
  }

  filter(filter) {
    const { graph } = this.model;
    const rows = visibleRows(graph, filter);
    if (String(rows) === String(this.rows)) return;
    this.rows = rows;
    const objects = visibleObjects(graph, this.rows);
    this.imageView.setVisible(this.rows, objects);
    this.networkView.setVisible(this.rows, objects);
    const shown = new Set(this.rows);
    for (const [row, item] of [...this.list.children].entries()) item.hidden = !shown.has(row);
    // "8 of 8 relations" would read as if all were hits.
    const hidden = graph.relations.length - this.rows.length;
    const note = hidden ? ` shown, ${hidden} hidden` : "";
    this.heading.textContent = `${PANEL_NAMES[this.kind]} · ${counted(this.rows.length, "relation")}${note}`;
  }

  light(rows, selected, ends) {
    this.imageView.light(rows, ends);
    this.networkView.light(rows);
    for (const button of this.list.querySelectorAll("button")) {
      const row = Number(button.dataset.row);
      button.classList.toggle("lit", rows.includes(row));
      button.setAttribute("aria-pressed", row === selected);
    }
  }
}

class Viewer {
  // palette: pairs of colours, see page_config
  constructor(root, { palette }) {
    this.palette = palette;
    this.filter = { minScore: 0, className: "", predicate: "" };
    this.comparing = true;
    this.panels = {};
    for (const kind of ["prediction", "truth"]) {
      this.panels[kind] = new Panel(kind, {
        hover: (row) => this.hover(kind, row),
        select: (row) => this.select(kind, row),
        touchObject: (object) => this.selectFromObject(kind, object),
      });
    }
    this.explanation = element("aside", { class: "explanation", "aria-label": "Explanation of the edge", "aria-live": "polite" });
    const panels = element("div", { class: "panels" }, ...Object.values(this.panels).map((panel) => panel.root));
    root.classList.add("viewer");
    this.warnings = element("div", { class: "warnings", role: "status" });
    root.replaceChildren(this.warnings, panels, this.explanation);
    this.root = root;
  }

  // record: {name, image (address or null), graph, explanations (or null), comparison (or null)}
  show(record) {
    this.record = record;
    this.hovered = this.selected = null;
    this.warnings.replaceChildren(...(record.graph.warnings ?? []).map((text) => element("p", {}, `Beware: ${text}.`)));
    this.root.classList.toggle("comparing", this.isComparing());
    const colors = predictedColors(record.graph, this.palette);
    this.panels.prediction.show(predictedModel(record, colors), record.image, record.name);
    this.panels.truth.root.hidden = !this.isComparing();
    if (this.isComparing()) {
      this.panels.truth.show(annotatedModel(record, colors, this.palette), record.image, record.name);
    }
    this.setFilter(this.filter);
  }

  isComparing() {
    return Boolean(this.comparing && this.record?.comparison);
  }

  setComparing(comparing) {
    this.comparing = comparing;
    if (this.record) this.show(this.record);
  }

  // filter: {minScore, className, predicate}. Annotations have no score.
  setFilter(filter) {
    this.filter = filter;
    if (!this.record) return;
    this.panels.prediction.filter(filter);
    if (this.isComparing()) this.panels.truth.filter({ ...filter, minScore: 0 });
    if (this.selected && !this.panels[this.selected.kind].rows.includes(this.selected.row)) this.selected = null;
    this.update();
  }

  hover(kind, row) {
    if (row === null && !this.hovered) return;
    this.hovered = row === null ? null : { kind, row };
    this.update();
  }

  select(kind, row) {
    this.selected = row === null ? null : { kind, row };
    this.hovered = null;
    this.update();
  }

  // The best edge of the object; if it is already chosen, the next one.
  selectFromObject(kind, object) {
    const panel = this.panels[kind];
    const rows = panel.rows.filter((row) => endsOf(panel.model.graph, row).includes(object));
    if (!rows.length) return;
    const present = this.selected?.kind === kind ? rows.indexOf(this.selected.row) : -1;
    this.select(kind, rows[(present + 1) % rows.length]);
  }

  // The next (1) or previous (-1) edge of the panel with the chosen edge.
  step(direction) {
    const kind = this.selected?.kind ?? "prediction";
    const { rows } = this.panels[kind];
    if (!rows.length) return;
    const present = this.selected ? rows.indexOf(this.selected.row) : direction > 0 ? -1 : rows.length;
    const next = Math.min(Math.max(present + direction, 0), rows.length - 1);
    this.select(kind, rows[next]);
    this.panels[kind].list.children[rows[next]].firstChild.focus();
  }

  clear() {
    this.select("prediction", null);
  }

  // After a change of theme.
  repaint() {
    for (const panel of Object.values(this.panels)) panel.networkView?.repaint();
  }

  update() {
    if (!this.record) return;
    const lit = this.hovered ?? this.selected;
    const rows = this.litRows(lit);
    const ends = lit?.kind === "prediction" ? this.record.explanations?.[lit.row] : null;
    const selected = (kind) => (this.selected?.kind === kind ? this.selected.row : null);
    this.panels.prediction.light(rows.prediction, selected("prediction"), ends);
    if (this.isComparing()) this.panels.truth.light(rows.truth, selected("truth"), null);
    this.explanation.classList.toggle("empty", lit === null);
    this.explanation.replaceChildren(...this.explain(lit));
    if (this.selected) this.explanation.prepend(this.closeButton());
  }

  closeButton() {
    return element("button", { type: "button", class: "close", "aria-label": "Close the explanation", onclick: () => this.clear() }, "×");
  }

  // An edge lights up together with the edges that it hits, or that hit it.
  litRows(lit) {
    if (!lit) return { prediction: [], truth: [] };
    const hits = this.record.comparison?.hits ?? [];
    if (lit.kind === "prediction") return { prediction: [lit.row], truth: hits[lit.row] ?? [] };
    const shown = this.panels.prediction.rows;
    return { truth: [lit.row], prediction: shown.filter((row) => hits[row].includes(lit.row)) };
  }

  explain(lit) {
    if (!lit) return [element("p", { class: "note" }, "Point at an edge, or tap it, to see why it is there.")];
    const { graph, names } = this.panels[lit.kind].model;
    const title = tripletText(graph, names, lit.row);
    if (lit.kind === "prediction") {
      return explanationView(title, this.record.explanations?.[lit.row], graph.relations[lit.row].probability);
    }
    const rank = this.record.comparison.ranks[lit.row];
    const verdict = rank === null ? "Missed: not among the first 100 triplets." : `Found at rank ${rank}.`;
    return [element("h3", {}, title), element("p", {}, verdict)];
  }
}

function predictedModel(record, colors) {
  const { graph, comparison } = record;
  const notes = graph.relations.map((relation, row) => (comparison?.hits[row].length ? "✓ " : "") + formatCertainty(relation));
  return { graph, names: objectNames(graph.objects), colors, verdicts: predictedVerdicts(record), notes };
}

function annotatedModel({ graph: predicted, comparison }, colors, palette) {
  const graph = comparison.truth;
  return {
    graph,
    names: annotatedNames(comparison, objectNames(predicted.objects)),
    colors: annotatedColors(comparison, colors, palette),
    verdicts: annotatedVerdicts(comparison),
    notes: comparison.ranks.map((rank) => (rank === null ? "✗ missed" : `✓ rank ${rank}`)),
  };
}
