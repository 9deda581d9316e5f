// The facts of all images that the list needs before it reads any record. An entry is {name, objects, edges, truth,
// recall}. objects are the classes of all objects, edges are rows of (subject, predicate, object, score), truth is the
// same without scores; names are numbers in the table of names.

class ImageIndex {
  constructor({ names, images, recall, reliability }) {
    this.names = names;
    this.images = images;
    this.recall = recall;
    this.reliability = reliability;
    this.texts = images.map((image) => this.searchText(image));
    const { classes, predicates } = this.vocabulary();
    this.classes = new Set(classes.map((name) => name.toLowerCase()));
    this.predicates = new Set(predicates.map((name) => name.toLowerCase()));
  }

  // Lines between spaces, so that whole words can be found: the name of the image, its classes and its triplets.
  searchText({ name, objects, edges, truth = [] }) {
    const triplets = [...edges, ...truth].map((edge) => edge.slice(0, 3).map((id) => this.names[id]).join(" "));
    const lines = new Set([name, ...objects.map((id) => this.names[id]), ...triplets]);
    return [...lines].map((line) => ` ${line} `).join("\n").toLowerCase();
  }

  // Names of classes and of predicates, sorted.
  vocabulary() {
    const classes = new Set();
    const predicates = new Set();
    for (const { objects, edges, truth = [] } of this.images) {
      for (const id of objects) classes.add(this.names[id]);
      for (const [subject, predicate, object] of [...edges, ...truth]) {
        classes.add(this.names[subject]).add(this.names[object]);
        predicates.add(this.names[predicate]);
      }
    }
    const sorted = (names) => [...names].sort((a, b) => a.localeCompare(b));
    return { classes: sorted(classes), predicates: sorted(predicates) };
  }

  // The number of edges that pass a filter; -1 if neither the graph nor the annotations have one, and no object has the class.
  countEdges({ objects, edges, truth = [] }, filter) {
    const passes = ([subject, predicate, object, score = 1]) =>
      edgePasses(this.names[subject], this.names[predicate], this.names[object], score, filter);
    const count = edges.filter(passes).length;
    const hasObject = !filter.predicate && objects.some((id) => this.names[id] === filter.className);
    return count || hasObject || truth.some(passes) ? count : -1;
  }

  // What a query asks for: words, and phrases of several words. A phrase is what stands in quotes, and what reads like
  // a triplet or an end of one: "person riding horse", "riding horse".
  readQuery(query) {
    const terms = [];
    for (const [part, quoted] of query.toLowerCase().matchAll(/"([^"]*)"|[^"]+/g)) {
      if (quoted !== undefined) {
        terms.push({ text: quoted.trim().replace(/\s+/g, " "), isPhrase: true });
        continue;
      }
      const words = part.split(/\s+/).filter(Boolean);
      while (words.length) {
        let length = words.length;
        while (length > 1 && !this.readsAsTriplet(words.slice(0, length))) length--;
        terms.push({ text: words.splice(0, length).join(" "), isPhrase: length > 1 });
      }
    }
    return terms.filter(({ text }) => text);
  }

  // A predicate, with a class before it or after it or both.
  readsAsTriplet(words) {
    const isClass = (part) => !part.length || this.classes.has(part.join(" "));
    return words.some((_, start) =>
      words.slice(start).some((_, rest) => {
        const end = start + rest + 1;
        const isPredicate = end - start < words.length && this.predicates.has(words.slice(start, end).join(" "));
        return isPredicate && isClass(words.slice(0, start)) && isClass(words.slice(end));
      }),
    );
  }

  // Names may have quotes of their own.
  finds(number, { text, isPhrase }) {
    const content = this.texts[number];
    return isPhrase ? content.includes(` ${text} `) || content.includes(`"${text}"`) : content.includes(text);
  }

  // Numbers of the images to be listed, in order. Each word and each phrase of the query has to occur.
  choose(query, filter, sort) {
    const terms = this.readQuery(query);
    const isFiltered = filter.className || filter.predicate;
    const chosen = [...this.images.keys()].filter(
      (number) =>
        terms.every((term) => this.finds(number, term)) &&
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
