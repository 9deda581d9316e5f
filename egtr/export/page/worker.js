// The worker in which the model computes, so that the page stays alive. It is started from the text in the page, so
// that the page's content security policy holds here too.

const INPUT = "image";
const OUTPUTS = ["logits", "boxes", "connectivity", "relation"];
let model = null;
let session = null;
let Tensor = null;

// base: address of the folder; record: see egtr.export.web
async function startModel({ base, record }) {
  model = record;
  const address = (name) => new URL(name, base).href;
  const [wasm, weights] = await Promise.all([record.runtime.wasm, record.weights].map((name) => fetchBytes(address(name))));
  const ort = await import(address(record.runtime.script));
  ort.env.wasm.wasmBinary = wasm;
  // Without the two headers of docs/deployment.md, browsers give no memory that threads share.
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(new Uint8Array(weights), { executionProviders: ["wasm"] });
  Tensor = ort.Tensor;
  return { threads: ort.env.wasm.numThreads };
}

async function fetchBytes(address) {
  const response = await fetch(address).catch(() => ({ ok: false, status: "nothing" }));
  if (!response.ok) throw new Error(`${address}: the server answers ${response.status}; is the whole folder there?`);
  return response.arrayBuffer();
}

async function findGraph({ blob, name }) {
  if (!session) throw new Error("the model is not loaded; load the page again");
  const image = await readPixels(blob, name);
  const { values, shape } = prepareInput(image, model.info.preprocessing ?? {});
  const found = await session.run({ [INPUT]: new Tensor("float32", values, shape) }, OUTPUTS);
  return makeGraph(found, { height: image.height, width: image.width }, model, name);
}

const TASKS = { startModel, findGraph };

async function answer({ number, task, argument }) {
  try {
    postMessage({ number, result: await TASKS[task](argument) });
  } catch (error) {
    postMessage({ number, problem: error.message });
  }
}

// One after the other: an image waits for the model, and a session computes one image at a time.
let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
