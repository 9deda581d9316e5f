// The facts of all images that the list needs before it reads any record. An entry is {name, edges, truth, recall}.
// edges are rows of (subject, predicate, object, score), truth is the same without scores; names are numbers in the
// table of names.

class ImageIndex {
  constructor({ names, images, recall }) {
    this.names = names;
    this.images = images;
    this.recall = recall;
    this.texts = images.map((image) => this.searchText(image));
  }

  searchText({ name, edges, truth = [] }) {
    const used = new Set([...edges, ...truth].flatMap(([subject, predicate, object]) => [subject, predicate, object]));
    return [name, ...[...used].map((id) => this.names[id])].join("\n").toLowerCase();
  }

  // Names of classes and of predicates, sorted.
  vocabulary() {
    const classes = new Set();
    const predicates = new Set();
    for (const { edges, truth = [] } of this.images) {
      for (const [subject, predicate, object] of [...edges, ...truth]) {
        classes.add(this.names[subject]).add(this.names[object]);
        predicates.add(this.names[predicate]);
      }
    }
    const sorted = (names) => [...names].sort((a, b) => a.localeCompare(b));
    return { classes: sorted(classes), predicates: sorted(predicates) };
  }

  // The number of edges that pass a filter; -1 if neither the graph nor the annotations have one.
  countEdges({ edges, truth = [] }, filter) {
    const passes = ([subject, predicate, object, score = 1]) =>
      edgePasses(this.names[subject], this.names[predicate], this.names[object], score, filter);
    const count = edges.filter(passes).length;
    return count || truth.some(passes) ? count : -1;
  }

  // Numbers of the images to be listed, in order. Each word of the query has to occur.
  choose(query, filter, sort) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const isFiltered = filter.className || filter.predicate;
    const chosen = [...this.images.keys()].filter(
      (number) =>
        words.every((word) => this.texts[number].includes(word)) &&
        (!isFiltered || this.countEdges(this.images[number], filter) >= 0),
    );
    return chosen.sort((a, b) => SORTS[sort].compare(this.images[a], this.images[b]) || a - b);
  }
}

// Images without annotations come last in both directions of sorting.
const SORTS = {
  order: { label: "as added", compare: () => 0 },
  name: { label: "by name", compare: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }) },
  recall: { label: "recall, lowest first", compare: (a, b) => (a.recall ?? 2) - (b.recall ?? 2) },
  best: { label: "recall, highest first", compare: (a, b) => (b.recall ?? -1) - (a.recall ?? -1) },
  count: { label: "most relations", compare: (a, b) => b.edges.length - a.edges.length },
};
