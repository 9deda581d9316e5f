// A graph as a dataset of one image in the format coco_sg (docs/datasets.md): correcting is labelling.

// classes, predicates: the model's names. rows: the relations to write.
function toCocoSg(graph, rows, fileName, classes, predicates) {
  const { height, width } = graph.image_size;
  const numbered = (names) => names.map((name, index) => ({ id: index + 1, name }));
  return {
    images: [{ id: 1, file_name: fileName, height, width }],
    annotations: graph.objects.map(({ class_id: classId, box }, index) => {
      const bbox = toBbox(clipBox(box, width, height));
      return { id: index + 1, image_id: 1, category_id: classId + 1, bbox, area: bbox[2] * bbox[3], iscrowd: 0 };
    }),
    categories: numbered(classes),
    rel_categories: numbered(predicates),
    rel_annotations: rows.map((row, index) => {
      const { subject, object, predicate_id: predicate } = graph.relations[row];
      return { id: index + 1, image_id: 1, subject_id: subject + 1, object_id: object + 1, predicate_id: predicate + 1 };
    }),
  };
}

function toBbox([x1, y1, x2, y2]) {
  const round = (value) => Math.round(value * 100) / 100;
  return [round(x1), round(y1), round(x2 - x1), round(y2 - y1)];
}

function clipBox([x1, y1, x2, y2], width, height) {
  return [Math.max(x1, 0), Math.max(y1, 0), Math.min(x2, width), Math.min(y2, height)];
}
