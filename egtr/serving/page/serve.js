// The server's page: an image from anywhere, sent once for each change that needs the model, shown by the viewer.

const viewer = new Viewer(byId("viewer"), readConfig());
// What was asked for last, and what is shown: the file itself, kept for other models and for downloads.
let wanted = null;
let file = null;
let record = null;
let request = null;
// What /api/v1/models says of each model, by name.
let models = new Map();
// Settled when they have been listed; an image may be chosen before.
let listed = null;
// The model of what is shown.
let shownModel = null;
const corrector = new Corrector(viewer, {
  file: () => file,
  record: () => record,
  model: () => models.get(shownModel) ?? {},
  remember: rememberImage,
  relate: relateBoxes,
  look,
  show: (shown) => showRecord(viewer, shown),
  complain,
});

async function open(chosen) {
  if (!chosen) return;
  wanted = chosen;
  await look();
  // On a phone, or after reading far down, the new image would not be seen.
  if (file === chosen) byId("result").scrollIntoView();
}

async function openExample() {
  try {
    const blob = await (await fetch("example.png")).blob();
    await open(new File([blob], "example.png", { type: blob.type }));
  } catch (error) {
    complain(error);
  }
}

// The parameters that the server has to know. The score is not among them: the viewer filters by itself.
function readSelection() {
  return {
    model: byId("model").value,
    top_k: byId("top-k").value,
    merge: byId("merge").checked,
    single_objects: byId("single-objects").checked,
  };
}

// A newer question takes the place of one that has no answer yet.
async function look() {
  if (!wanted) return;
  const asked = wanted;
  request?.abort();
  const present = (request = new AbortController());
  say(`Looking at ${asked.name} …`);
  try {
    await listed;
    const selection = readSelection();
    const response = await post("explanations", asked, selection, present.signal);
    corrector.end();
    shownModel = selection.model;
    record = { ...(await response.json()), name: asked.name, comparison: null };
    file = asked;
    showRecord(viewer, record);
    await readModels();
  } catch (error) {
    if (present !== request) return;
    complain(error);
    // What was refused is forgotten: other models and downloads are asked for what is shown.
    wanted = file ?? wanted;
  } finally {
    if (present === request) finish();
  }
}

function post(route, image, parameters, signal) {
  const form = new FormData();
  form.append("file", image, image.name);
  return send(route, form, parameters, signal);
}

async function send(route, body, parameters, signal) {
  const address = `api/v1/${route}?${new URLSearchParams(parameters)}`;
  const response = await fetch(address, { method: "POST", body, signal });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
  throw Object.assign(new Error(detail), { status: response.status });
}

// The id of the image that is shown, in the memory of its model.
async function rememberImage(signal) {
  const parameters = { model: shownModel, top_k: 0, single_objects: false, remember: true };
  return (await (await post("explanations", file, parameters, signal)).json()).remembered;
}

async function relateBoxes(image, boxes, classes, signal) {
  const parameters = { top_k: byId("top-k").value };
  const response = await send("relations", JSON.stringify({ image, boxes, classes }), parameters, signal);
  return response.json();
}

// What is shown, drawn and written by the server.
async function download(format) {
  const parameters = { ...readSelection(), format };
  const { minScore } = readFilter();
  if (minScore > 0 && record.graph.relations.some(({ score }) => score < minScore)) parameters.min_score = minScore;
  say(`Writing ${format} …`);
  try {
    saveFile(await (await post("scene-graph", file, parameters)).blob(), graphFileName(file.name, format));
  } catch (error) {
    complain(error);
  } finally {
    finish();
  }
}

function complain(error) {
  const lost = error instanceof TypeError;
  showProblem(lost ? "The server does not answer; is it still running?" : `Not possible: ${error.message}`);
}

// A model's names are known once it is loaded.
async function readModels() {
  const answer = await (await fetch("api/v1/models")).json();
  models = new Map(answer.models.map((model) => [model.name, model]));
  showVocabulary();
}

function showVocabulary() {
  byId("correct").hidden = !models.get(shownModel)?.remembers;
  const { state, classes, predicates } = models.get(byId("model").value) ?? {};
  const unknown = state === "ready" ? "its names are not known" : "its names are shown here once it has answered";
  const known = classes && predicates && `${classes.length} classes and ${predicates.length} predicates`;
  byId("vocabulary").querySelector("summary").textContent = `What the model knows: ${known || unknown}`;
  byId("classes").textContent = classes?.join(", ") ?? "";
  byId("predicates").textContent = predicates?.join(", ") ?? "";
}

async function listModels() {
  try {
    await readModels();
    byId("model").replaceChildren(...[...models.keys()].map((name) => element("option", { value: name }, name)));
    showVocabulary();
  } catch (error) {
    complain(error);
  }
}

function start() {
  listed = listModels();
  startImagePage({ viewer, open, complain });
  byId("example").addEventListener("click", openExample);
  byId("model").addEventListener("change", showVocabulary);
  byId("model").addEventListener("change", look);
  // None of these ends the work of a person.
  const select = () => (corrector.active ? corrector.reselect() : look());
  for (const id of ["top-k", "merge", "single-objects"]) byId(id).addEventListener("change", select);
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => download(button.dataset.format));
  }
}

start();
