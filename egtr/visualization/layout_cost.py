"""The faults of the drawing of a graph, as one number."""

import numpy as np

# Clear space around a node, points.
NODE_GAP = 12.0
# Angle between neighbouring edges of a node that leaves room for their labels, radians.
WIDE_ANGLE = np.pi / 4
# Room that an arrow head needs, points.
HEAD = 16.0
# Longest average edge, points: a graph of two nodes does not fill a page.
MAX_EDGE = 190.0


class Cost:
    """Rates a drawing with straight edges by its faults; 0 is a drawing without a fault."""

    def __init__(self, sizes: np.ndarray, edges: np.ndarray, label_sizes: np.ndarray, area: np.ndarray):
        self.padded = sizes + NODE_GAP
        # One straight line stands for all edges between two nodes.
        pairs, inverse = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
        labels = np.zeros((len(pairs), 2))
        np.maximum.at(labels, inverse.reshape(-1), label_sizes)
        line = pairs[:, 0] != pairs[:, 1]
        self.lines = pairs[line]
        self.label_sizes = labels[line]
        self.sizes = sizes
        first, second = np.triu_indices(len(self.lines), 1)
        disjoint = (self.lines[first][:, :, None] != self.lines[second][:, None, :]).all(axis=(1, 2))
        self.rivals = first[disjoint], second[disjoint]
        first, second = first[~disjoint], second[~disjoint]
        # The sign is +1 if the line leads away from the node that the two have in common.
        common = (self.lines[first][:, :, None] == self.lines[second][:, None, :]).reshape(-1, 4).argmax(axis=1)
        self.neighbours = first, second, 1.0 - 2.0 * (common // 2), 1.0 - 2.0 * (common % 2)
        self.upper = np.triu_indices(len(sizes), 1)
        incident = (self.lines[:, :, None] == np.arange(len(sizes))).any(axis=1)
        self.strangers = np.nonzero(~incident)
        self.area = area

    def __call__(self, centers: np.ndarray) -> float:
        starts, ends = centers[self.lines[:, 0]], centers[self.lines[:, 1]]
        return float(
            4.0 * self._too_close(centers)
            + 1.0 * self._crossings(starts, ends)
            + 3.0 * self._under_nodes(centers, starts, ends)
            + 2.0 * self._too_short(starts, ends)
            + 0.7 * self._too_narrow(starts, ends)
            + 0.02 * self._too_long(starts, ends)
        )

    def _too_close(self, centers: np.ndarray) -> float:
        first, second = self.upper
        distance = np.abs(centers[first] - centers[second])
        missing = (self.padded[first] + self.padded[second]) / 2 - distance
        # The shorter way apart, as a share of the height of a node.
        shorter = np.minimum(missing[:, 0], missing[:, 1])
        return float((np.clip(shorter, 0, None) / self.padded[:, 1].mean()).sum())

    def _crossings(self, starts: np.ndarray, ends: np.ndarray) -> float:
        first, second = self.rivals

        def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
            return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])

        a, b, c, d = starts[first], ends[first], starts[second], ends[second]
        return float(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum())

    def _under_nodes(self, centers: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> float:
        lines, nodes = self.strangers
        # Coordinate by coordinate, which is several times quicker: this is the largest part of a large drawing.
        dx, dy = (ends - starts)[lines].T
        x, y = (centers[nodes] - starts[lines]).T
        along = np.clip((x * dx + y * dy) / np.maximum(dx**2 + dy**2, 1e-9), 0, 1)
        half_width, half_height = (self.padded / 2)[nodes].T
        missing = 1 - np.maximum(np.abs(x - along * dx) / half_width, np.abs(y - along * dy) / half_height)
        return float(np.clip(missing, 0, None).sum())

    def _too_short(self, starts: np.ndarray, ends: np.ndarray) -> float:
        """Add up the missing shares of edges whose visible part has no room for label and arrow head."""
        direction = np.abs(ends - starts)
        length = np.maximum(np.linalg.norm(direction, axis=1), 1e-9)
        unit = direction / length[:, None]
        # The way from the centre of a node to its rim, in the direction of the edge.
        rims = [(self.sizes[self.lines[:, k]] / 2 / np.maximum(unit, 1e-9)).min(axis=1) for k in (0, 1)]
        # Labels are horizontal, so a steep edge passes only through their height.
        label = (self.label_sizes / np.maximum(unit, 1e-9)).min(axis=1)
        wanted = rims[0] + rims[1] + label + 3 * HEAD
        return float(np.clip(1 - length / wanted, 0, None).sum())

    def _too_narrow(self, starts: np.ndarray, ends: np.ndarray) -> float:
        """Add up the missing shares of sharp angles between edges of one node, where labels crowd."""
        first, second, first_sign, second_sign = self.neighbours
        direction = (ends - starts) / np.maximum(np.linalg.norm(ends - starts, axis=1), 1e-9)[:, None]
        cosine = (direction[first] * direction[second]).sum(axis=1) * first_sign * second_sign
        angle = np.arccos(np.clip(cosine, -1, 1))
        return float(np.clip(1 - angle / WIDE_ANGLE, 0, None).sum())

    def _too_long(self, starts: np.ndarray, ends: np.ndarray) -> float:
        return float(np.clip(np.linalg.norm(ends - starts, axis=1) / MAX_EDGE - 1, 0, None).sum())
