// What pages have in common that take one image from a person and show its graph: all ways in, the slider of scores,
// keys and themes. The page has the elements that are named here.

// open(file) is called with each image, complain(error) with what went wrong on the way.
function startImagePage({ viewer, open, complain }) {
  acceptFiles(open);
  acceptTransfers(open);
  acceptCamera(open, complain);
  const applyFilter = () => {
    const filter = readFilter();
    byId("score-value").textContent = filter.minScore.toFixed(filter.minScore < 0.1 ? 3 : 2);
    viewer.setFilter(filter);
  };
  byId("score").addEventListener("input", applyFilter);
  applyFilter();
  byId("theme").addEventListener("click", () => toggleTheme(viewer));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.repaint());
  document.addEventListener("keydown", (event) => onKey(event, viewer));
}

function say(text) {
  byId("problem").textContent = "";
  byId("status").textContent = text;
  document.body.classList.add("busy");
}

function finish() {
  byId("status").textContent = "";
  document.body.classList.remove("busy");
}

function showProblem(text) {
  byId("problem").textContent = text;
  byId("problem").scrollIntoView({ block: "center" });
}

// record: as Viewer.show takes it
function showRecord(viewer, record) {
  byId("drop").hidden = true;
  byId("result").hidden = false;
  const { width, height } = record.graph.image_size;
  byId("name").textContent = `${record.name} · ${width} × ${height}`;
  viewer.show(record);
}

// Scores of triplets are products and mostly small, so the slider is finer there.
function readFilter() {
  return { minScore: (byId("score").value / 100) ** 2, className: "", predicate: "" };
}

function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// What a graph of an image is called: street.png gives street_graph.json.
function graphFileName(imageName, format) {
  return `${imageName.replace(/\.[^.]*$/, "") || "image"}_graph.${format}`;
}

function acceptFiles(open) {
  const picker = byId("file");
  for (const id of ["choose", "drop"]) byId(id).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    open(picker.files[0]);
    // Or choosing the same file again would be no change.
    picker.value = "";
  });
}

function acceptTransfers(open) {
  const openTransferred = (event, transfer) => {
    const image = [...(transfer?.files ?? [])][0];
    if (!image) return;
    event.preventDefault();
    open(image);
  };
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
}

function acceptCamera(open, complain) {
  const video = byId("video");
  const openCamera = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      byId("camera").showModal();
    } catch (error) {
      // Browsers have no mediaDevices where the page came unprotected from another machine.
      const reason = navigator.mediaDevices ? error.message : "browsers allow it only on this machine or over HTTPS";
      complain(new Error(`no camera (${reason})`));
    }
  };
  const shoot = () => {
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => blob && open(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.92);
    byId("camera").close();
  };
  const releaseCamera = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  byId("use-camera").addEventListener("click", openCamera);
  byId("shoot").addEventListener("click", shoot);
  byId("close-camera").addEventListener("click", () => byId("camera").close());
  byId("camera").addEventListener("close", releaseCamera);
}

function toggleTheme(viewer) {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  viewer.repaint();
}

const KEYS = {
  ArrowRight: (viewer) => viewer.record && viewer.step(1),
  ArrowLeft: (viewer) => viewer.record && viewer.step(-1),
  Escape: (viewer) => viewer.clear(),
  d: toggleTheme,
};

function onKey(event, viewer) {
  const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName) || byId("camera").open;
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key](viewer);
}
