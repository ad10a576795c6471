"""Values beside what else a team would cache them with."""
