// Boxes over an image that a person moves, resizes and draws, with a mouse, a finger or keys.

// Where the eight handles of a box stand, as shares of its width and height.
const HANDLES = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const CURSORS = ["nwse", "ns", "nesw", "ew", "nwse", "ns", "nesw", "ew"];
// In pixels of the image.
const LEAST_SIDE = 2;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

class BoxEditor {
  // frame: the element with the image.
  // events: {choose(index), change(index, box), add(box), remove(index)}; a box is given once the hand lets go of it.
  constructor(frame, events) {
    this.frame = frame;
    this.events = events;
    this.svg = svgElement("svg", {
      class: "editor",
      role: "group",
      "aria-label": "Boxes of objects",
      onpointerdown: (event) => this.onDown(event),
      onpointermove: (event) => this.onMove(event),
      onpointerup: () => this.onUp(),
      onpointercancel: () => this.cancel(),
      onkeydown: (event) => this.onKey(event),
    });
    this.drag = null;
    new ResizeObserver(() => this.size && this.draw()).observe(frame);
  }

  // size: {width, height} of the image; boxes: [{box, name, colors}]; chosen: index or null
  show(size, boxes, chosen) {
    this.size = size;
    this.boxes = boxes;
    this.chosen = chosen;
    this.svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    if (!this.svg.isConnected) this.frame.append(this.svg);
    this.draw();
  }

  hide() {
    this.cancel();
    this.setDrawing(false);
    this.svg.remove();
  }

  setDrawing(drawing) {
    this.drawing = drawing;
    this.svg.classList.toggle("drawing", drawing);
  }

  focus() {
    this.svg.querySelector(`[data-box="${this.chosen}"]`)?.focus({ preventScroll: true });
  }

  draw() {
    const hadFocus = this.svg.contains(document.activeElement);
    this.unit = this.size.width / (this.frame.clientWidth || 1);
    this.svg.style.setProperty("--unit", this.unit);
    // Small boxes lie above the large ones around them. The chosen one keeps its place, which Tab goes on from.
    const order = [...this.boxes.keys()].sort((a, b) => areaOf(this.boxes[b].box) - areaOf(this.boxes[a].box));
    const { drag } = this;
    this.svg.replaceChildren(
      ...order.map((index) => this.boxNode(index)),
      ...(this.chosen === null ? [] : this.handles(this.boxes[this.chosen].box)),
      ...(drag?.index === null && drag.box ? [svgElement("rect", { class: "new", ...placeOf(drag.box) })] : []),
    );
    if (hadFocus) this.focus();
  }

  boxNode(index) {
    const { box, name, colors } = this.boxes[index];
    const [x1, y1, x2, y2] = box.map(Math.round);
    const [background, color] = colors;
    const text = shorten(name);
    const width = (textWidth(text) + 10) * this.unit;
    const height = LABEL_HEIGHT * this.unit;
    const left = Math.max(0, Math.min(box[0], this.size.width - width));
    const top = Math.max(0, box[1] - height);
    return svgElement(
      "g",
      {
        class: index === this.chosen ? "box chosen" : "box",
        "data-box": index,
        tabindex: 0,
        role: "button",
        "aria-pressed": index === this.chosen,
        "aria-label": `${name}, from ${x1}, ${y1} to ${x2}, ${y2}`,
        onfocus: () => index !== this.chosen && !this.drag && this.choose(index),
      },
      svgElement("rect", { class: "halo", ...placeOf(box) }),
      svgElement("rect", { class: "outline", stroke: background, ...placeOf(box) }),
      svgElement("rect", { class: "name", x: left, y: top, width, height, fill: background }),
      svgElement("text", { x: left + width / 2, y: top + 13 * this.unit, fill: color }, text),
    );
  }

  handles([x1, y1, x2, y2]) {
    return HANDLES.map(([x, y], handle) => {
      const [left, top] = [x1 + x * (x2 - x1), y1 + y * (y2 - y1)];
      const square = (side) => ({ x: left - side / 2, y: top - side / 2, width: side, height: side });
      return svgElement(
        "g",
        { class: "handle", "data-handle": handle, style: `cursor: ${CURSORS[handle]}-resize` },
        svgElement("rect", { class: "reach", ...square(22 * this.unit) }),
        svgElement("rect", { class: "grip", ...square(9 * this.unit) }),
      );
    });
  }

  choose(index) {
    this.chosen = index;
    this.draw();
    this.focus();
    this.events.choose(index);
  }

  pointOf(event) {
    const { left, top, width } = this.svg.getBoundingClientRect();
    const scale = this.size.width / width;
    return [(event.clientX - left) * scale, (event.clientY - top) * scale];
  }

  onDown(event) {
    if (event.button !== 0 || this.drag) return;
    const handle = event.target.closest("[data-handle]")?.dataset.handle;
    const node = event.target.closest("[data-box]");
    if (!this.drawing && handle === undefined && !node) return;
    // The browser would take the focus away from the box, which is drawn again.
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    const start = this.pointOf(event);
    if (this.drawing) {
      this.drag = { start, index: null, box: null };
      return;
    }
    if (node) this.choose(Number(node.dataset.box));
    const before = this.boxes[this.chosen].box;
    this.drag = { start, index: this.chosen, before, handle: handle === undefined ? null : HANDLES[handle] };
  }

  onMove(event) {
    if (!this.drag) return;
    const { start, index, before, handle } = this.drag;
    const [x, y] = this.pointOf(event);
    const [dx, dy] = [x - start[0], y - start[1]];
    if (index === null) {
      const corners = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
      this.drag.box = clipBox(corners, this.size.width, this.size.height);
    } else {
      this.boxes[index].box = handle ? resizedBox(before, handle, dx, dy, this.size) : movedBox(before, dx, dy, this.size);
    }
    this.draw();
  }

  onUp() {
    const { drag } = this;
    if (!drag) return;
    this.drag = null;
    if (drag.index === null) {
      const [x1, y1, x2, y2] = drag.box ?? [0, 0, 0, 0];
      if (Math.min(x2 - x1, y2 - y1) >= LEAST_SIDE) this.events.add(drag.box);
      else this.draw();
    } else if (String(this.boxes[drag.index].box) !== String(drag.before)) {
      this.events.change(drag.index, this.boxes[drag.index].box);
    }
  }

  cancel() {
    if (!this.drag) return;
    const { index, before } = this.drag;
    this.drag = null;
    if (index !== null) this.boxes[index].box = before;
    this.draw();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.chosen === null) return;
    const arrow = ARROWS[event.key];
    const removes = event.key === "Delete" || event.key === "Backspace";
    if (!arrow && !removes && event.key !== "Escape") return;
    // The page has other uses for arrows.
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") this.cancel();
    else if (this.drag) return;
    else if (removes) this.events.remove(this.chosen);
    else {
      const step = Math.max(1, Math.round(Math.max(this.size.width, this.size.height) / 100));
      const [dx, dy] = [arrow[0] * step, arrow[1] * step];
      const { box } = this.boxes[this.chosen];
      const changed = event.shiftKey ? resizedBox(box, [1, 1], dx, dy, this.size) : movedBox(box, dx, dy, this.size);
      if (String(changed) !== String(box)) this.events.change(this.chosen, changed);
    }
  }
}

function placeOf([x1, y1, x2, y2]) {
  return { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
}

function areaOf([x1, y1, x2, y2]) {
  return (x2 - x1) * (y2 - y1);
}

function within(value, least, most) {
  return Math.max(least, Math.min(value, most));
}

// A moved box keeps its size and stays within the image. One that reached beyond it may stay there.
function movedBox([x1, y1, x2, y2], dx, dy, { width, height }) {
  const x = within(dx, Math.min(0, -x1), Math.max(0, width - x2));
  const y = within(dy, Math.min(0, -y1), Math.max(0, height - y2));
  return [x1 + x, y1 + y, x2 + x, y2 + y];
}

// handle: one of HANDLES
function resizedBox([x1, y1, x2, y2], [x, y], dx, dy, { width, height }) {
  return [
    x === 0 ? within(x1 + dx, Math.min(0, x1), x2 - LEAST_SIDE) : x1,
    y === 0 ? within(y1 + dy, Math.min(0, y1), y2 - LEAST_SIDE) : y1,
    x === 1 ? within(x2 + dx, x1 + LEAST_SIDE, Math.max(width, x2)) : x2,
    y === 1 ? within(y2 + dy, y1 + LEAST_SIDE, Math.max(height, y2)) : y2,
  ];
}
