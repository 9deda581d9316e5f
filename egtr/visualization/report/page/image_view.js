// An image with boxes over it, and a line for each relation.

const LABEL_HEIGHT = 18;
const LABEL_FONT = "600 12.5px system-ui, sans-serif";

class ImageView {
  // events: {hover(row or null), select(row), touchObject(object)}
  constructor(root, events) {
    this.events = events;
    this.svg = svgElement("svg", { class: "overlay", "aria-hidden": "true" });
    this.image = element("img", { alt: "", decoding: "async" });
    this.frame = element("div", { class: "frame" }, this.image, this.svg);
    root.append(this.frame);
    new ResizeObserver(() => this.model && this.draw()).observe(this.frame);
  }

  // model: {graph, names, colors, verdicts}; source: address of the image, or null
  show(model, source, description) {
    const { height, width } = model.graph.image_size;
    this.model = model;
    this.lit = [];
    this.ends = null;
    this.image.hidden = !source;
    if (source) this.image.src = source;
    this.image.alt = description;
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.frame.style.setProperty("--aspect", width / height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.setVisible(model.graph.relations.map((_, row) => row), new Set(model.graph.objects.keys()));
  }

  setVisible(rows, objects) {
    this.rows = rows;
    this.objects = objects;
    this.draw();
  }

  // lit: rows to light up; ends: explained {subject, object} whose sampling points are shown, or null
  light(lit, ends = null) {
    this.lit = lit;
    this.ends = ends;
    const joined = new Set(lit.flatMap((row) => endsOf(this.model.graph, row)));
    this.svg.classList.toggle("has-lit", lit.length > 0);
    for (const node of this.svg.querySelectorAll("[data-row]")) {
      node.classList.toggle("lit", lit.includes(Number(node.dataset.row)));
    }
    for (const node of this.svg.querySelectorAll("[data-object]")) {
      node.classList.toggle("lit", joined.has(Number(node.dataset.object)));
    }
    this.drawPoints();
  }

  draw() {
    // Strokes and letters keep their size on the screen, independent of the size of the image.
    this.unit = this.model.graph.image_size.width / (this.frame.clientWidth || 1);
    this.svg.style.setProperty("--unit", this.unit);
    const objects = [...this.objects].sort((a, b) => this.area(b) - this.area(a));
    this.points = svgElement("g", { class: "points" });
    this.svg.replaceChildren(
      ...objects.map((index) => this.box(index)),
      ...this.rows.map((row) => this.line(row)),
      this.points,
      ...this.labels(objects),
    );
    this.light(this.lit.filter((row) => this.rows.includes(row)), this.ends);
  }

  area(index) {
    const [x1, y1, x2, y2] = this.model.graph.objects[index].box;
    return (x2 - x1) * (y2 - y1);
  }

  // Boxes may reach a little beyond the image.
  clipped(index) {
    const { height, width } = this.model.graph.image_size;
    const [x1, y1, x2, y2] = this.model.graph.objects[index].box;
    const clamp = (value, most) => Math.min(Math.max(value, 0), most);
    return [clamp(x1, width), clamp(y1, height), clamp(x2, width), clamp(y2, height)];
  }

  box(index) {
    const [x1, y1, x2, y2] = this.clipped(index);
    const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
    return svgElement(
      "g",
      { class: "box", "data-object": index, onclick: () => this.events.touchObject(index) },
      svgElement("rect", { ...place, class: "halo" }),
      svgElement("rect", { ...place, class: "outline", stroke: this.model.colors[index][0] }),
    );
  }

  line(row) {
    const [from, to] = endsOf(this.model.graph, row).map((index) => this.center(index));
    const path = `M${from} L${to}`;
    return svgElement(
      "g",
      {
        class: `relation ${this.model.verdicts[row]}`,
        "data-row": row,
        onpointerenter: (event) => event.pointerType === "mouse" && this.events.hover(row),
        onpointerleave: (event) => event.pointerType === "mouse" && this.events.hover(null),
        onclick: () => this.events.select(row),
      },
      svgElement("path", { d: path, class: "reach" }),
      svgElement("path", { d: path, class: "halo" }),
      svgElement("path", { d: path, class: "line" }),
      svgElement("circle", { cx: to[0], cy: to[1], r: 3.5 * this.unit, class: "tip" }),
    );
  }

  center(index) {
    const [x1, y1, x2, y2] = this.clipped(index);
    return [(x1 + x2) / 2, (y1 + y2) / 2];
  }

  // Each label is placed at the first corner of its box where it covers no other label.
  labels(objects) {
    const taken = [];
    return objects.map((index) => {
      const width = (textWidth(shorten(this.model.names[index])) + 10) * this.unit;
      const places = this.labelPlaces(index, width, LABEL_HEIGHT * this.unit);
      const place = places.find((box) => !taken.some((other) => overlap(box, other))) ?? places[0];
      taken.push(place);
      return this.label(index, place);
    });
  }

  labelPlaces(index, width, height) {
    const [x1, y1, x2, y2] = this.clipped(index);
    const { height: bottom, width: right } = this.model.graph.image_size;
    const inside = (x, y) => {
      const left = Math.max(0, Math.min(x, right - width));
      const top = Math.max(0, Math.min(y, bottom - height));
      return [left, top, left + width, top + height];
    };
    const tops = [y1 - height, y1, y2 - height, y2, y1 + height, y1 + 2 * height, y2 - 2 * height];
    return tops.flatMap((y) => [inside(x1, y), inside(x2 - width, y)]);
  }

  label(index, [x1, y1, x2, y2]) {
    const [background, color] = this.model.colors[index];
    return svgElement(
      "g",
      { class: "label", "data-object": index, onclick: () => this.events.touchObject(index) },
      svgElement("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: 3 * this.unit, fill: background }),
      svgElement("text", { x: (x1 + x2) / 2, y: y1 + 13 * this.unit, fill: color }, shorten(this.model.names[index])),
    );
  }

  // The points of the image that the two queries read, by weight.
  drawPoints() {
    this.points.replaceChildren();
    if (!this.ends || this.lit.length !== 1) return;
    const [subject, object] = endsOf(this.model.graph, this.lit[0]);
    for (const [index, end] of [[subject, this.ends.subject], [object, this.ends.object]]) {
      const color = this.model.colors[index][0];
      for (const { x, y, weight } of end.points) {
        const radius = (2 + 6 * Math.sqrt(weight)) * this.unit;
        this.points.append(svgElement("circle", { cx: x, cy: y, r: radius, fill: color }));
      }
    }
  }
}

const ruler = document.createElement("canvas").getContext("2d");

// In pixels of the screen.
function textWidth(text) {
  ruler.font = LABEL_FONT;
  return ruler.measureText(text).width;
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
