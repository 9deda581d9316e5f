// A file becomes the tensor that the model reads, with the same numbers as in Python.

// As many as Pillow reads.
const MAX_PIXELS = 89_478_485;
// Pillow computes with integers: weights have this many bits after the point.
const WEIGHT_BITS = 22;

// The pixels of an image file as people see it: {width, height, data (RGB, one byte each)}. Orientation by EXIF is
// applied, colour profiles are not (Python does not either), and transparency is laid on white.
async function readPixels(blob, name) {
  const image = await decodeImage(blob, name);
  const { width, height } = image;
  if (width * height > MAX_PIXELS) throw new Error(`${name}: too large: ${width} x ${height} pixels. Scale it down`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  image.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8ClampedArray(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { width, height, data };
}

async function decodeImage(blob, name) {
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    const reason = blob.size ? "is the file whole, and of a format that this browser shows?" : "the file is empty";
    throw new Error(`${name}: cannot be read as an image; ${reason}`);
  }
}

// [height, width] that the model wants, see egtr.data.resizing and LitePredictor.
function modelSize(height, width, { fixed_size, min_size, max_size = 0 }) {
  if (fixed_size) return fixed_size;
  if (!min_size) return [height, width];
  const [short, long] = [Math.min(height, width), Math.max(height, width)];
  let side = min_size;
  if (max_size > 0 && max_size * short < min_size * long) side = Math.max(1, roundHalfToEven((max_size * short) / long));
  const newLong = short === long ? side : Math.trunc((side * long) / short);
  return height <= width ? [side, newLong] : [newLong, side];
}

function roundHalfToEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}

// Pillow's resize with Image.Resampling.BILINEAR: a triangle as wide as a new pixel, or as an old one where that is
// wider; along rows and along columns, each rounded to whole numbers. As in Pillow 13, columns come first if the height
// shrinks much more than the width; older versions always begin with rows, and may differ by 1 there.
function resizeBilinear(image, newHeight, newWidth) {
  const [lessHeight, lessWidth] = [image.height - newHeight, image.width - newWidth];
  if (lessHeight > 0 && lessHeight > 2 * lessWidth) return resizeRows(resizeColumns(image, newHeight), newWidth);
  return resizeColumns(resizeRows(image, newWidth), newHeight);
}

function resizeRows({ width, height, data }, newWidth) {
  const small = new Uint8ClampedArray(3 * newWidth * height);
  const shares = sharesOfPixels(width, newWidth);
  let to = 0;
  for (let row = 0; row < height; row++) {
    for (const { first, weights } of shares) {
      const from = 3 * (row * width + first);
      for (let channel = 0; channel < 3; channel++) small[to++] = weightedSum(data, from + channel, 3, weights);
    }
  }
  return { width: newWidth, height, data: small };
}

function resizeColumns({ width, height, data }, newHeight) {
  const small = new Uint8ClampedArray(3 * width * newHeight);
  let to = 0;
  for (const { first, weights } of sharesOfPixels(height, newHeight)) {
    const from = 3 * width * first;
    for (let place = 0; place < 3 * width; place++) small[to++] = weightedSum(data, from + place, 3 * width, weights);
  }
  return { width, height: newHeight, data: small };
}

function weightedSum(data, from, step, weights) {
  let sum = 1 << (WEIGHT_BITS - 1);
  for (let index = 0; index < weights.length; index++) sum += data[from + index * step] * weights[index];
  return sum >> WEIGHT_BITS;
}

// For each new pixel of a line: the first old pixel in it, and the weights of this and the next ones as integers.
function sharesOfPixels(length, newLength) {
  const scale = length / newLength;
  const reach = Math.max(scale, 1);
  return Array.from({ length: newLength }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let old = first; old < end; old++) weights.push(Math.max(0, 1 - Math.abs((old - centre + 0.5) * (1 / reach))));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: Int32Array.from(weights, (weight) => 0.5 + (weight / sum) * (1 << WEIGHT_BITS)) };
  });
}

// The input of the network, (1, 3, H, W) float32 in 0..255, of an RGB image of any size.
function prepareInput(image, preprocessing) {
  const [height, width] = modelSize(image.height, image.width, preprocessing);
  const { data } = resizeBilinear(image, height, width);
  const plane = height * width;
  const values = new Float32Array(3 * plane);
  const channels = preprocessing.format === "BGR" ? [2, 1, 0] : [0, 1, 2];
  for (const [place, channel] of channels.entries()) {
    for (let pixel = 0; pixel < plane; pixel++) values[place * plane + pixel] = data[3 * pixel + channel];
  }
  return { values, shape: [1, 3, height, width] };
}
