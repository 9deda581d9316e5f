// Small helpers for the document. Names come from files and models, so text becomes only text nodes and attributes:
// nothing is parsed as HTML.

function element(tag, attributes = {}, ...children) {
  return fillElement(document.createElement(tag), attributes, children);
}

function svgElement(tag, attributes = {}, ...children) {
  return fillElement(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// Attributes called "onclick" and so on take functions; true is an attribute without a value, false and null are none.
function fillElement(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

function readJson(id) {
  return JSON.parse(byId(id).textContent);
}

function readConfig() {
  return readJson("config");
}

// The value of the CSS variable `--name` in the current theme.
function resolveColor(name) {
  const probe = element("span", { style: `color: var(--${name})`, hidden: true });
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function formatScore(score) {
  return score >= 0.995 ? "1.00" : score.toFixed(score < 0.1 ? 3 : 2);
}

// The calibrated probability of a relation; its score, if the model has no calibration.
function formatCertainty({ score, probability }) {
  return typeof probability === "number" ? `${Math.round(100 * probability)} %` : formatScore(score);
}

function formatSigned(value) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
}

function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
