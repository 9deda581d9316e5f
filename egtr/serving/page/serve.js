// The server's page: an image from anywhere, sent once for each change that needs the model, shown by the viewer.

const viewer = new Viewer(byId("viewer"), readConfig());
// What was asked for last, and what is shown: the file itself, kept for other models and for downloads.
let wanted = null;
let file = null;
let record = null;
let request = null;
// What /api/v1/models says of each model, by name.
let models = new Map();

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
    const response = await post("explanations", asked, readSelection(), present.signal);
    record = { ...(await response.json()), name: asked.name, comparison: null };
    file = asked;
    show();
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

function show() {
  byId("drop").hidden = true;
  byId("result").hidden = false;
  const { width, height } = record.graph.image_size;
  byId("name").textContent = `${record.name} · ${width} × ${height}`;
  viewer.show(record);
}

async function post(route, image, parameters, signal) {
  const form = new FormData();
  form.append("file", image, image.name);
  const address = `api/v1/${route}?${new URLSearchParams(parameters)}`;
  const response = await fetch(address, { method: "POST", body: form, signal });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
  throw new Error(detail);
}

// What is shown, drawn and written by the server.
async function download(format) {
  const parameters = { ...readSelection(), format };
  const { minScore } = readFilter();
  if (minScore > 0 && record.graph.relations.some(({ score }) => score < minScore)) parameters.min_score = minScore;
  say(`Writing ${format} …`);
  try {
    const blob = await (await post("scene-graph", file, parameters)).blob();
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: `${file.name.replace(/\.[^.]*$/, "") || "image"}_graph.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    complain(error);
  } finally {
    finish();
  }
}

function say(text) {
  byId("problem").textContent = "";
  byId("status").textContent = text;
  document.body.classList.add("busy");
}

function complain(error) {
  const lost = error instanceof TypeError;
  byId("problem").textContent = lost ? "The server does not answer; is it still running?" : `Not possible: ${error.message}`;
  byId("problem").scrollIntoView({ block: "center" });
}

function finish() {
  byId("status").textContent = "";
  document.body.classList.remove("busy");
}

// Scores of triplets are products and mostly small, so the slider is finer there.
function readFilter() {
  return { minScore: (byId("score").value / 100) ** 2, className: "", predicate: "" };
}

function applyFilter() {
  const filter = readFilter();
  byId("score-value").textContent = filter.minScore.toFixed(filter.minScore < 0.1 ? 3 : 2);
  viewer.setFilter(filter);
}

function openTransferred(event, transfer) {
  const image = [...(transfer?.files ?? [])][0];
  if (!image) return;
  event.preventDefault();
  open(image);
}

async function openCamera() {
  try {
    byId("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    byId("camera").showModal();
  } catch (error) {
    // Browsers have no mediaDevices where the page came unprotected from another machine.
    const reason = navigator.mediaDevices ? error.message : "browsers allow it only on this machine or over HTTPS";
    complain(new Error(`no camera (${reason})`));
  }
}

function shoot() {
  const video = byId("video");
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => blob && open(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.92);
  byId("camera").close();
}

function releaseCamera() {
  const video = byId("video");
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  viewer.repaint();
}

const KEYS = {
  ArrowRight: () => record && viewer.step(1),
  ArrowLeft: () => record && viewer.step(-1),
  Escape: () => viewer.clear(),
  d: toggleTheme,
};

function onKey(event) {
  const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName) || byId("camera").open;
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

// A model's names are known once it is loaded.
async function readModels() {
  const answer = await (await fetch("api/v1/models")).json();
  models = new Map(answer.models.map((model) => [model.name, model]));
  showVocabulary();
}

function showVocabulary() {
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

async function start() {
  const picker = byId("file");
  for (const id of ["choose", "drop"]) byId(id).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    open(picker.files[0]);
    // Or choosing the same file again would be no change.
    picker.value = "";
  });
  document.addEventListener("paste", (event) => openTransferred(event, event.clipboardData));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    openTransferred(event, event.dataTransfer);
  });
  byId("example").addEventListener("click", openExample);
  byId("model").addEventListener("change", showVocabulary);
  byId("use-camera").addEventListener("click", openCamera);
  byId("shoot").addEventListener("click", shoot);
  byId("close-camera").addEventListener("click", () => byId("camera").close());
  byId("camera").addEventListener("close", releaseCamera);
  for (const id of ["model", "top-k", "merge", "single-objects"]) byId(id).addEventListener("change", look);
  byId("score").addEventListener("input", applyFilter);
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => download(button.dataset.format));
  }
  byId("theme").addEventListener("click", toggleTheme);
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.repaint());
  applyFilter();
  await listModels();
}

start();
