// How certain the graphs are and how right: a reliability diagram, a calibration error and precisions, in a dialog.

// The diagram in its own units; `place` maps shares, 0 to 1, onto them.
const PLOT = { side: 200, left: 48, top: 10, width: 260, height: 244 };
const STATED = { score: "■ score", probability: "● probability" };
const SCALE = [0, 0.25, 0.5, 0.75, 1];

function place(stated, observed) {
  return [PLOT.left + PLOT.side * stated, PLOT.top + PLOT.side * (1 - observed)];
}

// measured is what egtr.evaluation.calibration_report measures.
function reliabilityView(measured) {
  const kinds = ["relations", "objects"].filter((kind) => measured[kind].number);
  return [
    element("p", { class: "note" }, measuredOn(measured)),
    element("div", { class: "diagrams" }, ...kinds.map((kind) => diagram(kind, measured[kind]))),
    errorTable(kinds, measured),
    element(
      "p",
      { class: "note" },
      "On the dashed line, stated numbers are true. Bars are 95% intervals. ECE is the mean distance from the line; " +
        "chance makes it as large as in the last column even if all stated numbers are true.",
    ),
    ...precisionTable(measured.precision),
    measured.note && element("p", { class: "beware" }, measured.note),
  ].filter(Boolean);
}

function measuredOn({ num_images, relations, objects }) {
  const found = `${counted(relations.number, "relation")} and ${counted(objects.number, "object")}`;
  return `${found} chosen by rank in ${counted(num_images, "annotated image")}, at most 20 relations each, against the annotations.`;
}

function diagram(kind, measured) {
  const series = Object.keys(STATED).filter((stated) => measured[stated]);
  const size = { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img" };
  const [from, to] = [place(0, 0), place(1, 1)];
  const name = `Reliability of displayed ${kind}`;
  const plot = svgElement(
    "svg",
    { ...size, "aria-label": name },
    ...SCALE.flatMap(gridLines),
    svgElement("line", { class: "ideal", x1: from[0], y1: from[1], x2: to[0], y2: to[1] }),
    plotText(PLOT.left + PLOT.side / 2, PLOT.height - 6, "stated"),
    svgElement(
      "text",
      { transform: `translate(12 ${PLOT.top + PLOT.side / 2}) rotate(-90)`, "text-anchor": "middle" },
      "share that is annotated",
    ),
    ...series.map((stated) => points(kind, stated, measured[stated].bins)),
  );
  const legend = series.map((stated) => element("span", { class: stated }, STATED[stated]));
  return element("figure", {}, element("figcaption", {}, element("strong", {}, `Displayed ${kind}`), ...legend), plot);
}

function gridLines(share) {
  const [x, y] = place(share, share);
  const end = { x: PLOT.left + PLOT.side, y: PLOT.top + PLOT.side };
  return [
    svgElement("line", { class: "grid", x1: x, y1: PLOT.top, x2: x, y2: end.y }),
    svgElement("line", { class: "grid", x1: PLOT.left, y1: y, x2: end.x, y2: y }),
    plotText(x, end.y + 14, share),
    plotText(PLOT.left - 5, y + 4, share, "end"),
  ];
}

function plotText(x, y, text, anchor = "middle") {
  return svgElement("text", { x, y, "text-anchor": anchor }, String(text));
}

// A bin is [mean stated number, share that is annotated, how many].
function points(kind, stated, bins) {
  const path = bins.map(([mean, share]) => place(mean, share).join(" ")).join(" L ");
  const marks = bins.flatMap(([mean, share, number]) => {
    const error = 1.96 * Math.sqrt((share * (1 - share)) / number);
    const [x, y] = place(mean, share);
    const [low, high] = [share - error, share + error].map((end) => place(mean, Math.min(1, Math.max(0, end)))[1]);
    const shape =
      stated === "score"
        ? svgElement("rect", { x: x - 3, y: y - 3, width: 6, height: 6 })
        : svgElement("circle", { cx: x, cy: y, r: 3.5 });
    shape.append(svgElement("title", {}, `${number} ${kind}: stated ${mean.toFixed(2)}, annotated ${share.toFixed(2)}`));
    return [svgElement("line", { x1: x, y1: low, x2: x, y2: high }), shape];
  });
  return svgElement("g", { class: stated }, svgElement("path", { d: `M ${path}` }), ...marks);
}

function errorTable(kinds, measured) {
  const rows = kinds.flatMap((kind) =>
    Object.keys(STATED)
      .filter((stated) => measured[kind][stated])
      .map((stated) => {
        const { ECE: error, "ECE of drawn labels": drawn } = measured[kind][stated];
        return [`${kind}, by ${stated}`, error.toFixed(3), drawn.toFixed(3)];
      }),
  );
  return table(["displayed", "ECE", "ECE of chance"], rows);
}

// precision: asked share to what is found; missing without a calibration.
function precisionTable(precision) {
  if (!precision) return [];
  const rows = Object.entries(precision).map(([asked, { precision: found, kept }]) => [
    `${Math.round(100 * asked)}%`,
    found === null ? "–" : `${(100 * found).toFixed(1)}%`,
    kept,
  ]);
  return [table(["asked precision", "found", "relations kept"], rows)];
}

function table(headings, rows) {
  const head = element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([name, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, String(cell)))),
  );
  return element("table", { class: "numbers" }, element("thead", {}, head), element("tbody", {}, ...body));
}
