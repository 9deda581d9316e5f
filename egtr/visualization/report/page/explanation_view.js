// Why an edge is there: EdgeExplanation's to_dict as bars and heat maps.

// explanation may be null: the reason is said instead. probability may be null or missing.
function explanationView(title, explanation, probability) {
  const heading = [element("h3", {}, title)];
  if (typeof probability === "number") {
    heading.push(element("p", {}, `Probability of being annotated: ${Math.round(100 * probability)} %`));
  }
  if (!explanation) {
    return [...heading, element("p", { class: "note" }, "No explanation: the model gives none, or explanations were not requested.")];
  }
  return [
    ...heading,
    ...scorePart(explanation),
    ...sourcesPart(explanation),
    ...logitPart(explanation),
    ...attentionPart(explanation),
  ];
}

function scorePart({ score, predicate, predicate_score, connectivity, subject, object }) {
  const factors = [[predicate, predicate_score], [subject.class, subject.score], [object.class, object.score]];
  if (connectivity !== null) factors.push(["connected", connectivity]);
  return [
    element("h4", {}, "Score ", element("strong", {}, formatScore(score)), " is the product of"),
    element("table", { class: "bars" }, ...factors.map(([name, value]) => barRow(name, formatScore(value), 0, value))),
  ];
}

function sourcesPart({ sources, gates }) {
  const heading = element("h4", {}, "Gate of each relation source");
  if (!gates) return [heading, element("p", { class: "note" }, "None: every source counts in full.")];
  const rows = sources.map((name, index) => barRow(name, gates[index].toFixed(2), 0, gates[index]));
  return [heading, element("table", { class: "bars gates" }, ...rows)];
}

// Each share begins where the one above it ends, as in a waterfall.
function logitPart(explanation) {
  const shares = logitShares(explanation);
  const sums = [0];
  for (const [, value] of shares) sums.push(sums.at(-1) + value);
  const low = Math.min(...sums);
  const span = Math.max(...sums) - low || 1;
  const place = (value) => (value - low) / span;
  const rows = shares.map(([name, value], index) =>
    barRow(name, formatSigned(value), ...[sums[index], sums[index + 1]].map(place), value < 0 ? "less" : "more"),
  );
  rows.push(barRow("logit", formatSigned(explanation.logit), ...[0, explanation.logit].map(place), "total"));
  const heading = element("h4", {}, `Logit of “${explanation.predicate}”, share by share`);
  return [heading, element("table", { class: "bars" }, ...rows)];
}

function logitShares({ sources, contributions, head_logit, constant, frequency_bias, logit_adjustment }) {
  const shares = contributions
    ? [...sources.map((name, index) => [name, contributions[index]]), ["constant", constant]]
    : [["relation head", head_logit]];
  shares.push(["frequency bias", frequency_bias]);
  if (logit_adjustment) shares.push(["logit adjustment", logit_adjustment]);
  return shares;
}

// from and to are shares, 0..1, of the width of the bar.
function barRow(name, value, from, to, kind = "more") {
  const [left, right] = [Math.min(from, to), Math.max(from, to)];
  const style = `left: ${100 * left}%; width: ${100 * (right - left)}%`;
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, name),
    element("td", { class: "bar" }, element("div", {}, element("span", { class: kind, style }))),
    element("td", { class: "number" }, value),
  );
}

function attentionPart({ attention, attention_back }) {
  // At least a tenth, or noise would look like attention.
  const most = Math.max(0.1, ...attention.flat(), ...attention_back.flat());
  return [
    element("h4", {}, "Self-attention, subject to object"),
    heatMap(attention, most),
    element("h4", {}, "Self-attention, object to subject"),
    heatMap(attention_back, most),
  ];
}

function heatMap(values, most) {
  const heads = values[0].map((_, head) => element("th", { scope: "col" }, String(head)));
  const rows = values.map((row, layer) =>
    element("tr", {}, element("th", { scope: "row" }, `layer ${layer}`), ...row.map((v, head) => heatCell(v, most, layer, head))),
  );
  return element(
    "table",
    { class: "heat" },
    element("tr", {}, element("th", {}, "head"), ...heads),
    ...rows,
  );
}

function heatCell(value, most, layer, head) {
  const share = value / most;
  return element(
    "td",
    {
      style: `--share: ${(100 * share).toFixed(0)}%`,
      class: share > 0.55 ? "strong" : null,
      title: `layer ${layer}, head ${head}: ${value.toFixed(3)}`,
    },
    value >= 0.995 ? "1" : value.toFixed(2).slice(1),
  );
}
