// The list of images. Only rows near the visible part exist, and only their images are decoded.

const ROW_HEIGHT = 72;
const ROWS_BEYOND = 4;

class ImageList {
  // describe(number) gives {name, facts, recall, image}; choose(number) is called when an image is chosen
  constructor(root, { describe, choose }) {
    this.root = root;
    this.describe = describe;
    this.choose = choose;
    this.order = [];
    this.rows = new Map();
    this.spacer = element("div", { role: "presentation" });
    root.append(this.spacer);
    root.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(root);
  }

  // Numbers of the images, in order. Rows that keep their place only get new facts.
  setOrder(order) {
    for (const [place, row] of this.rows) {
      if (order[place] === this.order[place]) {
        row.querySelector(".facts").textContent = this.describe(order[place]).facts;
      } else {
        row.remove();
        this.rows.delete(place);
      }
    }
    this.order = order;
    this.spacer.style.height = `${order.length * ROW_HEIGHT}px`;
    for (const row of this.rows.values()) row.setAttribute("aria-setsize", order.length);
    this.draw();
  }

  mark(number) {
    this.current = number;
    const place = this.order.indexOf(number);
    if (place < 0) return;
    const top = place * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.root.scrollTop = top + ROW_HEIGHT - clientHeight;
    this.draw();
    for (const [at, row] of this.rows) row.setAttribute("aria-selected", this.order[at] === number);
    this.root.setAttribute("aria-activedescendant", `row-${place}`);
  }

  // The image after (1) or before (-1) the chosen one; the first one if none is chosen.
  neighbour(direction) {
    const place = this.order.indexOf(this.current);
    return place < 0 ? this.order[0] : this.order[Math.min(Math.max(place + direction, 0), this.order.length - 1)];
  }

  draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const visible = Math.ceil(this.root.clientHeight / ROW_HEIGHT);
    const last = Math.min(this.order.length, first + visible + 2 * ROWS_BEYOND);
    for (const [place, row] of this.rows) {
      if (place >= first && place < last) continue;
      row.remove();
      this.rows.delete(place);
    }
    for (let place = first; place < last; place++) {
      if (!this.rows.has(place)) this.rows.set(place, this.row(place));
    }
  }

  row(place) {
    const number = this.order[place];
    const { name, facts, recall, image } = this.describe(number);
    const row = element(
      "div",
      {
        class: "row",
        id: `row-${place}`,
        role: "option",
        style: `top: ${place * ROW_HEIGHT}px`,
        title: name,
        "aria-selected": String(number === this.current),
        "aria-setsize": this.order.length,
        "aria-posinset": place + 1,
        onclick: () => this.choose(number),
      },
      image ? element("img", { src: image, alt: "", decoding: "async" }) : element("div", { class: "blank" }),
      element(
        "div",
        {},
        element("div", { class: "name" }, name),
        element("div", { class: "facts" }, facts),
        recall == null ? null : element("div", { class: "meter" }, element("span", { style: `width: ${100 * recall}%` })),
      ),
    );
    // Screen readers follow the order in the document.
    (this.rows.get(place - 1) ?? this.spacer).after(row);
    return row;
  }
}
