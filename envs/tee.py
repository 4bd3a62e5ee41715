"""The shape of a T: two boxes, its outline, and how it yields to a push. Plane geometry, lengths in m."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Tee:
    """A bar of length L with a stem of 3/4 L, both L/4 thick, in a frame at the centre of mass; the stem points to -y.

    The proportions are those of Push-T (Chi et al. 2023, arXiv 2303.04137).
    """

    length_m: float

    @property
    def thickness_m(self) -> float:
        return self.length_m / 4

    @property
    def boxes(self) -> Points:
        """Bar and stem as rows (centre x, centre y, half width x, half width y)."""
        length, half = self.length_m, self.thickness_m / 2
        bar_y = 3 / 14 * length  # areas 4 : 3, centres half a length apart
        return np.array([[0.0, bar_y, length / 2, half], [0.0, bar_y - length / 2, half, 3 / 8 * length]])

    @property
    def gyration_radius_m(self) -> float:
        """Root mean square distance of its points from the centre."""
        x, y, half_x, half_y = self.boxes.T
        areas = half_x * half_y
        squares = (half_x**2 + half_y**2) / 3 + x**2 + y**2
        return float(np.sqrt(areas @ squares / areas.sum()))

    @property
    def corners(self) -> Points:
        """The outline's corners counter-clockwise, [8, 2]."""
        (_, bar_y, half_length, half), (_, stem_y, _, half_stem) = self.boxes
        top, under, tip = bar_y + half, bar_y - half, stem_y - half_stem
        left = [(-half_length, top), (-half_length, under), (-half, under), (-half, tip)]
        return np.array([*left, *((-x, y) for x, y in reversed(left))])

    @property
    def reach_m(self) -> float:
        """Distance of the farthest point from the centre."""
        return float(np.linalg.norm(self.corners, axis=1).max())

    def distance_m(self, points: Points) -> Points:
        """Distance of points [..., 2] in its frame to the nearest surface, negative inside; [...]."""
        beyond = np.abs(points[..., None, :] - self.boxes[:, :2]) - self.boxes[:, 2:]
        outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=-1)
        return (outside + np.minimum(beyond.max(-1), 0.0)).min(-1)

    def outline(self, shares: NDArray[np.float64]) -> tuple[Points, Points]:
        """Points at these shares (in [0, 1)) of the way around, and the normals into the T there; both [k, 2]."""
        starts = self.corners
        edges = np.roll(starts, -1, axis=0) - starts
        lengths = np.linalg.norm(edges, axis=1)
        ends = np.cumsum(lengths)
        way = shares * ends[-1]
        edge = np.searchsorted(ends, way, side="right")
        directions = edges[edge] / lengths[edge, None]
        points = starts[edge] + (way - ends[edge] + lengths[edge])[:, None] * directions
        return points, np.stack([-directions[:, 1], directions[:, 0]], axis=1)

    def motion(self, points: Points, forces: Points) -> Points:
        """Motion under unit pushes at points: (x, y, turn times gyration radius), [k, 2] to [k, 3].

        Friction proportional to velocity over the whole footprint resists a turn as the gyration radius says: in these
        three lengths, velocity is in proportion to force.
        """
        torques = points[:, 0] * forces[:, 1] - points[:, 1] * forces[:, 0]
        return np.column_stack([forces, torques / self.gyration_radius_m])


def rotated(vectors: Points, angle_rad: float) -> Points:
    """Vectors [..., 2] turned counter-clockwise."""
    sine, cosine = np.sin(angle_rad), np.cos(angle_rad)
    return vectors @ np.array([[cosine, sine], [-sine, cosine]])
