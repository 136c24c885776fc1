import itertools
import math

import pytest
import torch

from videokd.distill.losses import cka, relational, similarity_preserving

SHAPES = [(4, 6), (4, 3, 2, 2, 2)]
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=["embedding", "map"])
both_losses = pytest.mark.parametrize("loss", [relational, similarity_preserving])


def _pair(shape):
    student, teacher = 2 * torch.randn(2, *shape)
    return student.requires_grad_(), teacher


def _huber(difference):
    d = abs(difference)
    return d * d / 2 if d < 1 else d - 0.5


def _slow_distances(vectors):
    pairs = list(itertools.permutations(range(len(vectors)), 2))
    lengths = [((vectors[i] - vectors[j]) ** 2).sum().sqrt() for i, j in pairs]
    return [length / (sum(lengths) / len(lengths)) for length in lengths]


def _slow_cosines(vectors):
    """The cosine is 0 where one of the two sides is."""
    cosines = []
    for i, j, k in itertools.permutations(range(len(vectors)), 3):
        u, v = vectors[i] - vectors[j], vectors[k] - vectors[j]
        lengths = ((u * u).sum() * (v * v).sum()).sqrt()
        cosines.append((u * v).sum() / lengths if lengths > 0 else 0 * lengths)
    return cosines


def _slow_relational(student, teacher, *, distance_weight, angle_weight):
    loss = 0.0
    for weight, relations in ((distance_weight, _slow_distances), (angle_weight, _slow_cosines)):
        mine, theirs = relations(student.flatten(1)), relations(teacher.double().flatten(1))
        terms = [_huber(s - t) for s, t in zip(mine, theirs, strict=True)]
        loss = loss + weight * sum(terms) / len(terms)
    return loss


@all_shapes
@pytest.mark.parametrize(("distance", "angle"), [(1.0, 0.0), (0.0, 1.0), (25.0, 50.0)])
def test_relational_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, shape, distance, angle
):
    student, teacher = _pair(shape)
    options = {"distance_weight": distance, "angle_weight": angle}
    loss = relational(student, teacher, **options)
    assert_same_with_gradient(loss, lambda s: _slow_relational(s, teacher, **options), student)


def test_relational_of_a_triangle_and_a_line_is_what_is_worked_out_by_hand():
    # Equilateral: distances 1, cosines 1/2. Line 0, 1, 2: distances 3/4 (twice) and 3/2, cosines 1,
    # -1, 1 at its three points.
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])
    line = torch.tensor([[0.0], [1.0], [2.0]])
    distances = relational(triangle, line, angle_weight=0.0)
    assert distances.item() == pytest.approx((2 * 0.25**2 / 2 + 0.5**2 / 2) / 3, rel=1e-5)
    angles = relational(triangle, line, distance_weight=0.0, angle_weight=1.0)
    assert angles.item() == pytest.approx((2 * 0.5**2 / 2 + (1.5 - 0.5)) / 3, rel=1e-5)


def _rotated(features):
    rotation, _ = torch.linalg.qr(torch.randn(features[0].numel(), features[0].numel()))
    return (features.flatten(1) @ rotation).view_as(features)


@all_shapes
def test_relational_ignores_shift_scale_and_rotation_of_all_features(shape):
    student, teacher = _pair(shape)
    moved = 5 * _rotated(student) + torch.randn(shape[1:])
    torch.testing.assert_close(
        relational(moved, teacher), relational(student, teacher), rtol=1e-4, atol=1e-6
    )
    assert relational(3 * teacher - 1, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_relational_keeps_its_digits_far_from_the_origin():
    # In float32 the products of such vectors would be 1e4 times what is looked for.
    student, teacher = (x.detach().round() for x in _pair((4, 6)))
    torch.testing.assert_close(relational(student + 1000, teacher), relational(student, teacher))


def test_relational_of_clips_that_coincide_is_finite_with_a_finite_gradient():
    student, teacher = _pair((4, 6))
    student = student.detach().index_copy(0, torch.tensor([1]), student[:1]).requires_grad_()
    loss = relational(student, teacher)
    expected = _slow_relational(student.double(), teacher, distance_weight=1.0, angle_weight=2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < torch.autograd.grad(loss, student)[0].abs().max() < 1e4


def test_relational_of_a_collapsed_student_has_zero_distances():
    _, teacher = _pair((4, 6))
    loss = relational(torch.full((4, 6), 0.1), teacher, angle_weight=0.0)
    expected = [_huber(d) for d in _slow_distances(teacher.double())]
    assert loss.item() == pytest.approx(sum(expected).item() / len(expected), rel=1e-5)


def test_relational_of_one_clip_is_zero_and_of_two_knows_no_difference():
    for num_clips in (1, 2):
        student, teacher = _pair((num_clips, 6))
        assert relational(student, teacher).item() == pytest.approx(0.0, abs=1e-6)


def _slow_similarity_preserving(student, teacher):
    total, num_clips = 0.0, len(student)
    vectors = student.flatten(1), teacher.double().flatten(1)
    for i in range(num_clips):
        rows = [[(x[i] * x[j]).sum() for j in range(num_clips)] for x in vectors]
        lengths = [sum(value**2 for value in row).sqrt() for row in rows]
        for j in range(num_clips):
            total = total + (rows[0][j] / lengths[0] - rows[1][j] / lengths[1]) ** 2
    return total / num_clips**2


@all_shapes
def test_similarity_preserving_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, shape
):
    student, teacher = _pair(shape)
    loss = similarity_preserving(student, teacher)
    assert_same_with_gradient(loss, lambda s: _slow_similarity_preserving(s, teacher), student)


def test_similarity_preserving_of_alike_and_unlike_clips_is_what_is_worked_out_by_hand():
    # Rows (1, 1) / sqrt(2) against (1, 0) and (0, 1): each differs by 2 - sqrt(2).
    alike, unlike = torch.ones(2, 2), torch.eye(2)
    loss = similarity_preserving(alike, unlike)
    assert loss.item() == pytest.approx(2 * (2 - math.sqrt(2)) / 4)


@all_shapes
def test_similarity_preserving_ignores_scale_and_rotation_of_all_features(shape):
    student, teacher = _pair(shape)
    torch.testing.assert_close(
        similarity_preserving(1e-6 * _rotated(student), teacher),
        similarity_preserving(student, teacher),
        rtol=1e-4,
        atol=1e-6,
    )


@both_losses
@all_shapes
def test_relations_equal_to_the_teachers_cost_nothing(loss, shape):
    _, teacher = _pair(shape)
    assert loss(teacher, teacher).item() == 0.0


@both_losses
def test_a_map_can_be_compared_with_an_embedding_of_the_same_clips(loss):
    student, teacher = torch.randn(4, 3, 2, 2, 2), torch.randn(4, 7)
    torch.testing.assert_close(loss(student, teacher), loss(student.flatten(1), teacher))


def _slow_cka(student, teacher):
    """Products of all pairs of centred clips, one at a time."""
    products = []
    for features in (student.flatten(1).double(), teacher.flatten(1).double()):
        centred = features - features.mean(dim=0)
        products.append([(u * v).sum() for u in centred for v in centred])
    norms = [sum(p * p for p in own).sqrt() for own in products]
    return 1 - sum(s * t for s, t in zip(*products, strict=True)) / (norms[0] * norms[1])


@all_shapes
def test_cka_equals_a_float64_loop_in_value_and_gradient(assert_same_with_gradient, shape):
    student, teacher = _pair(shape)
    loss = cka(student, teacher)
    assert_same_with_gradient(loss, lambda s: _slow_cka(s, teacher), student)


def test_cka_does_not_see_what_a_rotation_a_scale_and_a_shift_change():
    teacher = torch.randn(6, 5)
    rotation = torch.linalg.qr(torch.randn(5, 5))[0]
    assert cka(3 * teacher @ rotation + 2, teacher) == pytest.approx(0.0, abs=1e-6)
    assert cka(torch.ones(6, 5), teacher) == 1.0
    # Two clips at +-1 along one axis and at 0 along another, against the reverse.
    one, other = torch.tensor([1.0, -1, 0, 0]), torch.tensor([0.0, 0, 1, -1])
    assert cka(one[:, None], other[:, None]) == pytest.approx(1.0)
