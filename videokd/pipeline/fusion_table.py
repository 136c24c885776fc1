"""Terminal table of the shapes of a joint teacher's adaptors and levels."""

from rich.table import Table

from videokd.fusion.describe import describe_joint_teacher
from videokd.fusion.joint_teacher import JointTeacher


def make_fusion_table(teacher: JointTeacher, title: str) -> Table:
    """Build a table with one row per adaptor, fused level and embedding: shapes and parameters."""
    table = Table(title=f"{title}: {teacher.options.topology}, adaptors and fused levels")
    for column in ("level", "expert", "in (C x T x H x W)", "out", "parameters"):
        table.add_column(column, justify="left" if column in ("level", "expert") else "right")
    for row in describe_joint_teacher(teacher):
        shapes = ("x".join(map(str, shape)) for shape in (row.in_shape, row.out_shape))
        expert = row.expert or "fused"
        table.add_row(row.level, expert, *shapes, f"{row.num_parameters:,}")
    return table
