// A page that holds its model: an image from anywhere goes to the worker, the viewer shows the graph.

// Asks the worker, see worker.js, and gives promises of its answers.
class ModelWorker {
  constructor(code) {
    this.waiting = new Map();
    this.worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
    this.worker.onmessage = ({ data: { number, result, problem } }) => {
      const { resolve, reject } = this.waiting.get(number);
      this.waiting.delete(number);
      if (problem === undefined) resolve(result);
      else reject(new Error(problem));
    };
    this.worker.onerror = () => {
      for (const { reject } of this.waiting.values()) reject(new Error("this browser cannot run the model; update it"));
      this.waiting.clear();
    };
    this.asked = 0;
  }

  ask(task, argument) {
    const number = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      this.worker.postMessage({ number, task, argument });
    });
  }
}

const viewer = new Viewer(byId("viewer"), readConfig());
const model = readJson("model");
const worker = new ModelWorker(readJson("worker"));
// The number of the newest image, and what is shown: the whole graph, and the address of the image.
let newest = 0;
let shown = null;

async function open(file) {
  if (!file) return;
  const number = ++newest;
  say(`Looking at ${file.name} …`);
  try {
    const graph = await worker.ask("findGraph", { blob: file, name: file.name });
    if (number !== newest) return;
    if (shown) URL.revokeObjectURL(shown.image);
    shown = { name: file.name, image: URL.createObjectURL(file), graph };
    show();
    // On a phone, or after reading far down, the new image would not be seen.
    byId("result").scrollIntoView();
  } catch (error) {
    if (number === newest) complain(error);
  } finally {
    if (number === newest) finish();
  }
}

function selectGraph(minScore = 0) {
  const selection = {
    topK: Number(byId("top-k").value),
    merge: byId("merge").checked,
    singleObjects: byId("single-objects").checked,
    minScore,
  };
  return selectForDisplay(shown.graph, selection, model.limits);
}

function show() {
  if (shown) showRecord(viewer, { ...shown, graph: selectGraph(), explanations: null, comparison: null });
}

function download() {
  const graph = roundGraph(selectGraph(readFilter().minScore));
  saveFile(new Blob([JSON.stringify(graph, null, 2)], { type: "application/json" }), graphFileName(shown.name, "json"));
}

function complain(error) {
  showProblem(`Not possible: ${error.message}`);
}

function describeModel({ class_names, predicate_names, description, dataset, licence, origin }) {
  const [classes, predicates] = [class_names ?? [], predicate_names ?? []];
  byId("vocabulary").querySelector("summary").textContent =
    `What the model knows: ${classes.length} classes and ${predicates.length} predicates`;
  byId("classes").textContent = classes.join(", ");
  byId("predicates").textContent = predicates.join(", ");
  const facts = { Dataset: dataset, Licence: licence, Origin: origin };
  const known = Object.entries(facts).flatMap(([name, text]) => (text ? [`${name}: ${text}`] : []));
  byId("about").textContent = [description, ...known].filter(Boolean).join(" · ");
}

async function start() {
  startImagePage({ viewer, open, complain });
  for (const id of ["top-k", "merge", "single-objects"]) byId(id).addEventListener("change", show);
  byId("download").addEventListener("click", download);
  describeModel(model.info);
  byId("runtime").textContent = model.runtime.name;
  if (location.protocol === "file:") {
    showProblem("Not possible: browsers load a model only from a web server. In this folder, run: python -m http.server");
    return;
  }
  say("Loading the model …");
  try {
    const { threads } = await worker.ask("startModel", { base: document.baseURI, record: model });
    byId("threads").textContent = `, on ${counted(threads, "thread")}`;
  } catch (error) {
    complain(error);
  } finally {
    if (!newest) finish();
  }
}

start();
