// Correcting the graph of the shown image: a person changes boxes and labels, and the server says which relations
// follow. The server remembers the image for a while; when it has forgotten, the image is sent again.

// Milliseconds without a change before the server is asked.
const PAUSE = 150;

class Corrector {
  // page: {file(), record(), model(), remember(): id of the image, relate(id, boxes, classes, signal): graph,
  // show(record), look(), complain(error)}
  constructor(viewer, page) {
    this.viewer = viewer;
    this.page = page;
    this.active = false;
    this.editor = new BoxEditor(viewer.panels.prediction.imageView.frame, {
      choose: (index) => this.choose(index),
      change: (index, box) => this.change((objects) => (objects[index].box = box), index),
      add: (box) => this.add(box),
      remove: (index) => this.remove(index),
    });
    byId("correct").addEventListener("click", () => (this.active ? this.leave() : this.enter()));
    byId("draw-box").addEventListener("click", (event) => this.onDraw(event));
    byId("label").addEventListener("change", () => this.relabel(byId("label").value || null));
    byId("delete-object").addEventListener("click", () => this.remove(this.chosen));
    byId("undo").addEventListener("click", () => this.undo());
    byId("save-corrected").addEventListener("click", () => this.save("json"));
    byId("save-coco-sg").addEventListener("click", () => this.save("coco_sg"));
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  enter() {
    const record = this.page.record();
    this.original = record;
    this.objects = record.graph.objects.map(({ box, class: name }) => ({ box, class: name }));
    this.history = [];
    this.image = null;
    this.pending = null;
    // The objects that the graph belongs to: a refused correction leaves the former graph.
    this.graph = record.graph;
    this.related = this.objects;
    this.isStale = false;
    const { classes } = this.page.model();
    // Where the model has no names, its graphs have made-up ones.
    this.ids = new Map(classes ? [] : record.graph.objects.map((object) => [object.class, object.class_id]));
    this.choose(this.objects.length ? 0 : null);
    this.setActive(true);
    const names = classes ?? [...this.ids.keys()].sort();
    byId("label").replaceChildren(
      element("option", { value: "" }, "as the model finds"),
      ...names.map((name) => element("option", {}, name)),
    );
    this.draw();
    this.tell("Choose a box, or draw one.");
  }

  // Back to the graph of the model itself.
  leave() {
    if (!this.active) return;
    this.end();
    this.page.show(this.original);
    if (this.isStale) this.page.look();
  }

  // The page shows another number of relations; the corrections stay.
  reselect() {
    this.isStale = true;
    this.schedule();
  }

  // Another graph takes the place of this one.
  end() {
    if (!this.active) return;
    clearTimeout(this.timer);
    this.request?.abort();
    this.pending?.resolve(false);
    this.request = this.pending = null;
    this.setActive(false);
    this.editor.hide();
  }

  setActive(active) {
    this.active = active;
    byId("correcting").hidden = !active;
    byId("downloads").hidden = active;
    byId("correct").setAttribute("aria-pressed", active);
    this.viewer.root.classList.toggle("correcting", active);
    this.setDrawing(false);
  }

  setDrawing(drawing) {
    this.editor.setDrawing(drawing);
    byId("draw-box").setAttribute("aria-pressed", drawing);
  }

  // Without a pointer a box is put into the middle, for the arrow keys.
  onDraw(event) {
    if (event.detail === 0) {
      const { width, height } = this.graph.image_size;
      this.add([0.375 * width, 0.375 * height, 0.625 * width, 0.625 * height]);
    } else {
      this.setDrawing(!this.editor.drawing);
    }
  }

  choose(index) {
    this.chosen = index;
    byId("label").disabled = byId("delete-object").disabled = index === null;
    if (index !== null) byId("label").value = this.objects[index].class ?? "";
  }

  // edit(objects) changes a copy; the former objects are kept for undo.
  change(edit, chosen) {
    this.history.push({ objects: this.objects, chosen: this.chosen });
    const objects = structuredClone(this.objects);
    edit(objects);
    this.replace(objects, chosen);
  }

  replace(objects, chosen) {
    // A hand may still hold a box that goes, as after Ctrl+Z.
    this.editor.cancel();
    this.objects = objects;
    this.draw(chosen);
    this.schedule();
  }

  add(box) {
    this.setDrawing(false);
    this.change((objects) => objects.push({ box, class: null }), this.objects.length);
    this.editor.focus();
  }

  remove(index) {
    if (index === null) return;
    const hadFocus = this.editor.svg.contains(document.activeElement);
    const left = this.objects.length - 1;
    this.change((objects) => objects.splice(index, 1), left ? Math.min(index, left - 1) : null);
    if (hadFocus) this.editor.focus();
  }

  relabel(name) {
    const { chosen } = this;
    this.change((objects) => (objects[chosen].class = name), chosen);
  }

  undo() {
    if (!this.history.length) return;
    const { objects, chosen } = this.history.pop();
    this.replace(objects, chosen);
  }

  onKey(event) {
    if (!this.active || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    this.undo();
  }

  draw(chosen = this.chosen) {
    this.choose(chosen);
    byId("undo").disabled = !this.history.length;
    // Until the server answers, a new object has no class.
    const named = this.objects.map(({ box, class: name, found }) => ({ box, class: name ?? found ?? "new" }));
    const names = objectNames(named);
    const colors = predictedColors({ objects: named }, this.viewer.palette);
    const boxes = named.map(({ box }, index) => ({ box: [...box], name: names[index], colors: colors[index] }));
    this.editor.show(this.graph.image_size, boxes, this.chosen);
  }

  schedule() {
    clearTimeout(this.timer);
    this.request?.abort();
    this.tell("Asking for relations …");
    // Those who wait for the answer wait for the newest one.
    this.pending ??= Promise.withResolvers();
    this.timer = setTimeout(() => this.ask(), PAUSE);
  }

  async ask() {
    const present = (this.request = new AbortController());
    const { objects } = this;
    const boxes = objects.map(({ box }) => box);
    const classes = objects.map(({ class: name }) => this.ids.get(name) ?? name);
    const { pending } = this;
    try {
      const graph = await this.relate(boxes, classes, present.signal);
      if (present !== this.request) return;
      for (const [index, object] of objects.entries()) object.found = graph.objects[index].class;
      this.graph = graph;
      this.related = objects;
      byId("problem").textContent = "";
      this.page.show({ ...this.original, graph, explanations: null });
      // A hand that holds a box is not disturbed.
      if (!this.editor.drag) this.draw();
      this.tell(`${counted(graph.objects.length, "object")}, ${counted(graph.relations.length, "relation")}`);
      pending.resolve(true);
    } catch (error) {
      if (present !== this.request || present.signal.aborted) return;
      this.tell("These boxes have no relations yet.");
      this.page.complain(error);
      pending.resolve(false);
    }
    this.pending = null;
  }

  async relate(boxes, classes, signal) {
    this.image ??= await this.page.remember(signal);
    try {
      return await this.page.relate(this.image, boxes, classes, signal);
    } catch (error) {
      if (error.status !== 410) throw error;
      this.image = await this.page.remember(signal);
      return await this.page.relate(this.image, boxes, classes, signal);
    }
  }

  tell(text) {
    byId("correcting-note").textContent = text;
  }

  // What is shown: the slider decides about relations here, too.
  async save(format) {
    if (this.related !== this.objects && !this.pending) this.schedule();
    if (this.pending && !(await this.pending.promise)) return;
    const { graph } = this;
    const { name } = this.page.file();
    const rows = visibleRows(graph, this.viewer.filter);
    const content = format === "json" ? { ...graph, relations: rows.map((row) => graph.relations[row]) } : this.toCocoSg(rows, name);
    const blob = new Blob([JSON.stringify(content)], { type: "application/json" });
    saveFile(blob, graphFileName(name, format === "json" ? "json" : "coco_sg.json"));
  }

  toCocoSg(rows, name) {
    const { classes, predicates } = this.page.model();
    const { objects, relations } = this.graph;
    const known = (names, entries, id, key) => {
      if (names) return names;
      const found = [];
      for (const entry of entries) found[entry[id]] = entry[key];
      return Array.from(found, (text, index) => text ?? `${key} ${index}`);
    };
    const classNames = known(classes, objects, "class_id", "class");
    return toCocoSg(this.graph, rows, name, classNames, known(predicates, relations, "predicate_id", "predicate"));
  }
}
