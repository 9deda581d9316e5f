// Properties of a graph, without drawing it. A graph is {image_size, objects, relations}, as SceneGraph's
// to_dict has it; a row is the number of a relation.

// Classes that occur more than once are numbered from left to right, as in drawings: "man 1", "man 2".
function objectNames(objects) {
  const ofClass = Map.groupBy(objects.keys(), (index) => objects[index].class);
  const names = [];
  for (const [name, same] of ofClass) {
    const across = (index) => objects[index].box[0] + objects[index].box[2];
    same.sort((a, b) => across(a) - across(b) || a - b);
    for (const [place, index] of same.entries()) names[index] = same.length > 1 ? `${name} ${place + 1}` : name;
  }
  return names;
}

function shorten(name) {
  return name.length > 24 ? `${name.slice(0, 23)}…` : name;
}

// Subject and object of a row.
function endsOf(graph, row) {
  const { subject, object } = graph.relations[row];
  return [subject, object];
}

function tripletText(graph, names, row) {
  const { subject, predicate, object } = graph.relations[row];
  return `${names[subject]} – ${predicate} – ${names[object]}`;
}

// A filter is {minScore, className, predicate}; empty names let everything pass.
function edgePasses(subject, predicate, object, score, filter) {
  return (
    score >= filter.minScore &&
    (!filter.className || filter.className === subject || filter.className === object) &&
    (!filter.predicate || filter.predicate === predicate)
  );
}

function visibleRows(graph, filter) {
  return graph.relations.flatMap(({ subject, object, predicate, score }, row) => {
    const [from, to] = [graph.objects[subject].class, graph.objects[object].class];
    return edgePasses(from, predicate, to, score, filter) ? [row] : [];
  });
}

// Objects that visible relations join. Where nothing is filtered out, objects without relations are seen as well.
function visibleObjects(graph, rows) {
  if (rows.length === graph.relations.length) return new Set(graph.objects.keys());
  return new Set(rows.flatMap((row) => endsOf(graph, row)));
}

// [background, text] of each object. An annotated object has the colour of the predicted object that matches it.
function predictedColors(graph, palette) {
  return graph.objects.map((_, index) => palette[index % palette.length]);
}

function annotatedColors(comparison, predicted, palette) {
  let next = predicted.length;
  return comparison.twins.map((twin) => (twin === null ? palette[next++ % palette.length] : predicted[twin]));
}

// An annotated object also has the name, with its number, of the predicted object that matches it. The numbers of a
// class then continue.
function annotatedNames({ truth, twins }, predictedNames) {
  const taken = new Set();
  const names = twins.map((twin) => {
    const name = predictedNames[twin];
    if (twin === null || taken.has(name)) return null;
    taken.add(name);
    return name;
  });
  return names.map((name, index) => name ?? freeName(truth.objects, truth.objects[index].class, taken));
}

function freeName(objects, name, taken) {
  const isOnly = objects.filter((other) => other.class === name).length === 1;
  let free = name;
  for (let number = taken.has(name) ? 2 : 1; taken.has(free) || (free === name && !isOnly); number++) free = `${name} ${number}`;
  taken.add(free);
  return free;
}

// "hit", "miss" or "plain" for each relation of the two panels.
function predictedVerdicts(record) {
  if (!record.comparison) return record.graph.relations.map(() => "plain");
  return record.comparison.hits.map((truths) => (truths.length ? "hit" : "plain"));
}

function annotatedVerdicts(comparison) {
  return comparison.ranks.map((rank) => (rank === null ? "miss" : "hit"));
}
