// The report: the list, the controls and the keyboard around the viewer.

const index = new ImageIndex(readJson("index"));
const viewer = new Viewer(byId("viewer"), readConfig());
const list = new ImageList(byId("rows"), { describe, choose });
let current = null;

function image(number) {
  const text = byId(`image-${number}`)?.textContent;
  return text ? `data:image/webp;base64,${text}` : null;
}

function describe(number) {
  const entry = index.images[number];
  const count = Math.max(0, index.countEdges(entry, readFilter()));
  const parts = [counted(count, "relation")];
  if (entry.recall != null) parts.push(`R@20 ${formatPercent(entry.recall)}`);
  return { name: entry.name, facts: parts.join(" · "), recall: entry.recall, image: image(number) };
}

function formatPercent(share) {
  return `${(100 * share).toFixed(0)}%`;
}

function choose(number) {
  if (number === undefined) return;
  current = number;
  const record = readJson(`record-${number}`);
  byId("name").textContent = record.name;
  const recalls = Object.entries(record.comparison?.recall ?? {})
    .map(([k, value]) => `R@${k} ${value === null ? "–" : formatPercent(value)}`)
    .join(" · ");
  byId("facts").textContent = recalls && `recall of this image: ${recalls}`;
  byId("compare").hidden = !record.comparison;
  viewer.show({ ...record, image: image(number) });
  list.mark(number);
  openList(false);
}

// Scores of triplets are products and mostly small, so the slider is finer for small scores.
function readFilter() {
  return {
    minScore: (byId("score").value / 100) ** 2,
    className: byId("class").value,
    predicate: byId("predicate").value,
  };
}

function applyFilter() {
  const filter = readFilter();
  byId("score-value").textContent = filter.minScore.toFixed(filter.minScore < 0.1 ? 3 : 2);
  viewer.setFilter(filter);
  applyOrder();
}

// A slider sends more events than the page is drawn.
function oncePerFrame(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      action();
    });
  };
}

function applyOrder() {
  const order = index.choose(byId("search").value, readFilter(), byId("sort").value);
  list.setOrder(order);
  byId("count").textContent = order.length
    ? `${order.length} of ${counted(index.images.length, "image")}`
    : "No image matches. Clear the search, or relax score, class and predicate.";
  if (!order.includes(current)) choose(order[0]);
  else list.mark(current);
}

function toggleCompare() {
  const comparing = !viewer.comparing;
  byId("compare").setAttribute("aria-pressed", comparing);
  viewer.setComparing(comparing);
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  viewer.repaint();
}

function showReliability() {
  if (index.reliability) byId("reliability").showModal();
}

function fillReliability() {
  if (!index.reliability) return;
  const { probability, score } = index.reliability.relations;
  const error = (probability ?? score).ECE;
  byId("reliability").append(...reliabilityView(index.reliability));
  byId("show-reliability").textContent = error === null ? "ECE" : `ECE ${error.toFixed(3)}`;
  byId("show-reliability").hidden = byId("help-reliability").hidden = false;
  byId("show-reliability").addEventListener("click", showReliability);
  byId("close-reliability").addEventListener("click", () => byId("reliability").close());
}

function openList(open) {
  byId("list").classList.toggle("open", open);
  byId("toggle-list").setAttribute("aria-expanded", open);
}

function letGo() {
  const search = byId("search");
  if (document.activeElement === search && search.value) {
    search.value = "";
    applyOrder();
  } else {
    document.activeElement?.blur();
    openList(false);
    viewer.clear();
  }
}

const KEYS = {
  ArrowDown: () => choose(list.neighbour(1)),
  ArrowUp: () => choose(list.neighbour(-1)),
  ArrowRight: () => viewer.step(1),
  ArrowLeft: () => viewer.step(-1),
  "/": () => byId("search").focus(),
  g: () => byId("compare").hidden || toggleCompare(),
  r: showReliability,
  d: toggleTheme,
  Escape: letGo,
};

function onKey(event) {
  const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName);
  // The dialog is closed by the browser.
  if (byId("reliability").open || event.ctrlKey || event.metaKey || event.altKey || (isTyping && event.key !== "Escape") || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

function start() {
  byId("title").textContent = document.title;
  const recall = Object.entries(index.recall).map(([k, value]) => `R@${k}\u00a0${(100 * value).toFixed(1)}%`);
  byId("summary").textContent = [counted(index.images.length, "image"), ...recall].join(" · ");
  const { classes, predicates } = index.vocabulary();
  byId("class").append(...classes.map((name) => element("option", { value: name }, name)));
  byId("predicate").append(...predicates.map((name) => element("option", { value: name }, name)));
  const hasRecall = Object.keys(index.recall).length > 0;
  const sorts = Object.entries(SORTS).filter(([key]) => hasRecall || !["recall", "best"].includes(key));
  byId("sort").append(...sorts.map(([value, { label }]) => element("option", { value }, label)));
  for (const id of ["score", "class", "predicate"]) byId(id).addEventListener("input", oncePerFrame(applyFilter));
  for (const id of ["search", "sort"]) byId(id).addEventListener("input", applyOrder);
  byId("compare").addEventListener("click", toggleCompare);
  fillReliability();
  byId("theme").addEventListener("click", toggleTheme);
  byId("toggle-list").addEventListener("click", () => openList(!byId("list").classList.contains("open")));
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.repaint());
  applyFilter();
}

start();
