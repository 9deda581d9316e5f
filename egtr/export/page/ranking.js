// The network's outputs become a graph as SceneGraph's to_dict has it. The order of triplets is that of
// egtr/structures/ranking.py; scores are products of float32 numbers here too, so that ties are the same.

// An output of the network is {data (float32), dims}; logits (N, C), boxes (N, 4), connectivity (N, N),
// relation (N, N, R).
function makeGraph({ logits, boxes, connectivity, relation }, imageSize, record, fileName) {
  const { scores, presence, classes } = scoreObjects(logits, record.object_score);
  const ranked = rankTriplets(connectivity.data, relation, scores, record.triplets_per_image);
  const { class_names = null, predicate_names = null } = record.info;
  const { calibration } = record;
  return {
    version: 1,
    source: { file_name: fileName, frame: null, time: null },
    warnings: findDoubts(record.info, ranked[0]?.score ?? 0),
    image_size: imageSize,
    objects: Array.from(classes, (label, id) => ({
      id,
      class: class_names?.[label] ?? `class ${label}`,
      class_id: label,
      score: scores[id],
      presence: presence[id],
      probability: calibrate(calibration?.objects, presence[id]),
      box: boxInPixels(boxes.data.subarray(4 * id, 4 * id + 4), imageSize),
      query: id,
    })),
    relations: ranked.map(({ subject, object, predicate, score }) => ({
      subject,
      object,
      predicate: predicate_names?.[predicate] ?? `predicate ${predicate}`,
      predicate_id: predicate,
      score,
      probability: calibrate(calibration?.triplets, score),
      precision: calibrate(calibration?.precision, score),
      queries: [subject, object],
    })),
    class_names,
    predicate_names,
  };
}

// The best class of each query, its score (float32), and the probability that there is an object at all.
function scoreObjects({ data, dims: [queries, count] }, kind) {
  const classes = new Array(queries);
  const [scores, presence] = [new Float32Array(queries), new Float32Array(queries)];
  const isSoftmax = kind === "softmax" || (kind === "auto" && count > 1);
  for (let query = 0; query < queries; query++) {
    const row = data.subarray(query * count, (query + 1) * count);
    const label = bestIndex(row);
    classes[query] = label;
    presence[query] = 1 / (1 + Math.exp(-row[label]));
    const sum = row.reduce((total, logit) => total + Math.exp(logit - row[label]), 0);
    scores[query] = isSoftmax ? 1 / sum : presence[query];
  }
  return { scores, presence, classes };
}

// Of equal values the first; NaN counts as the highest, as in numpy, and is found by its score.
function bestIndex(values) {
  let best = 0;
  for (let index = 0; index < values.length; index++) {
    if (Number.isNaN(values[index])) return index;
    if (values[index] > values[best]) best = index;
  }
  return best;
}

// The best triplets, each pair of two different queries with its best predicate only; ties by subject, then object.
function rankTriplets(connectivity, { data, dims: [queries, , predicates] }, scores, count) {
  const triplets = [];
  for (let subject = 0; subject < queries; subject++) {
    for (let object = 0; object < queries; object++) {
      if (subject === object || !predicates) continue;
      const pair = subject * queries + object;
      const row = data.subarray(pair * predicates, (pair + 1) * predicates);
      const predicate = bestIndex(row);
      const joined = Math.fround(Math.fround(connectivity[pair] * scores[subject]) * scores[object]);
      triplets.push({ subject, object, predicate, score: Math.fround(row[predicate] * joined) });
    }
  }
  if (!triplets.every(({ score }) => Number.isFinite(score))) {
    throw new Error("the model's output holds NaN or infinity, which cannot be ranked; has its training diverged?");
  }
  // Sorting is stable.
  return triplets.sort((a, b) => b.score - a.score).slice(0, count);
}

// x1 y1 x2 y2 in pixels of a box given as centre and size in 0..1.
function boxInPixels([x, y, width, height], image) {
  const half = [Math.fround(width / 2), Math.fround(height / 2)];
  const corners = [x - half[0], y - half[1], x + half[0], y + half[1]].map(Math.fround);
  return corners.map((value, index) => Math.fround(value * (index % 2 ? image.height : image.width)));
}

// Reasons to doubt a graph, in the words of egtr.structures.doubts.
function findDoubts({ name, domain, photograph_threshold: threshold }, best) {
  const model = name ? `the model ${name}` : "the model";
  const doubts = [];
  if (domain === "drawings") doubts.push(`${model} was trained on drawings; its graphs of photographs mean little`);
  if (threshold != null && best < threshold) {
    doubts.push(
      `${model} probably does not know images of this sort: its best relation scores ${best.toFixed(3)} here, ` +
        `but more than ${threshold.toFixed(3)} on nearly all images that it knows`,
    );
  }
  return doubts;
}

// The part of a graph that a person wants to see, as SceneGraph.for_display selects it. limits: the constants of
// egtr/structures/scene_graph.py; without least_probability any probability will do.
function selectForDisplay(graph, { topK, merge, singleObjects, minScore }, limits) {
  const { objects, relations } = merge ? mergeDuplicates(graph, limits.merge_iou) : graph;
  const best = graph.relations[0]?.score ?? 0;
  const least = Math.fround(Math.max(minScore, limits.least_score, limits.share_of_best * best));
  const sure = limits.least_probability ?? null;
  const isShown = ({ score, probability }) => score >= least && (sure === null || probability >= sure - 1e-6);
  const shown = relations.filter(isShown).slice(0, topK);
  const joined = new Set(shown.flatMap(({ subject, object }) => [subject, object]));
  const isPresent = ({ presence }) => singleObjects && presence >= limits.object_threshold;
  const stays = objects.filter((object) => joined.has(object.id) || isPresent(object));
  const place = new Map(stays.map(({ id }, index) => [id, index]));
  return {
    ...graph,
    objects: stays.map((object, id) => ({ ...object, id })),
    relations: shown.map((row) => ({ ...row, subject: place.get(row.subject), object: place.get(row.object) })),
  };
}

// The probability that a curve of egtr/structures/calibration.py gives a score; null without a calibration.
function calibrate(curve, score) {
  if (!curve) return null;
  const { scores, probabilities } = curve;
  const next = scores.findIndex((other) => other > score);
  if (next === 0) return probabilities[0];
  if (next === -1) return probabilities.at(-1);
  const share = (score - scores[next - 1]) / (scores[next] - scores[next - 1]);
  return probabilities[next - 1] + share * (probabilities[next] - probabilities[next - 1]);
}

// Objects of one class whose boxes nearly coincide become one, see SceneGraph.merge_duplicates. Objects keep their ids.
function mergeDuplicates({ objects, relations }, iou) {
  const chosen = [];
  const representative = new Map();
  for (const object of [...objects].sort((a, b) => b.score - a.score)) {
    const same = chosen.find((other) => other.class_id === object.class_id && overlap(other.box, object.box) > iou);
    if (same) {
      same.presence = Math.max(same.presence, object.presence);
      // A curve never descends, so the more probable one is that of the larger presence.
      if (same.probability !== null) same.probability = Math.max(same.probability, object.probability);
    } else chosen.push({ ...object });
    representative.set(object.id, (same ?? object).id);
  }
  const seen = new Set();
  const moved = relations
    .map((row) => ({ ...row, subject: representative.get(row.subject), object: representative.get(row.object) }))
    .filter(({ subject, object, predicate_id }) => {
      const triplet = `${subject} ${object} ${predicate_id}`;
      const isNew = subject !== object && !seen.has(triplet);
      seen.add(triplet);
      return isNew;
    });
  return { objects: chosen.sort((a, b) => a.id - b.id), relations: moved };
}

// Intersection over union of two boxes.
function overlap(a, b) {
  const area = ([left, top, right, bottom]) => Math.max(0, right - left) * Math.max(0, bottom - top);
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  const union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

// Numbers rounded as to_dict rounds them.
function roundGraph(graph) {
  const round = (value, digits) => value === null ? null : Number(value.toFixed(digits));
  return {
    ...graph,
    objects: graph.objects.map((object) => ({
      ...object,
      score: round(object.score, 6),
      presence: round(object.presence, 6),
      probability: round(object.probability, 6),
      box: object.box.map((value) => round(value, 2)),
    })),
    relations: graph.relations.map((row) => ({
      ...row,
      score: round(row.score, 6),
      probability: round(row.probability, 6),
      precision: round(row.precision, 6),
    })),
  };
}
