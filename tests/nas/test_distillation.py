import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nas.distillation import Distillation
from nas.training import ImageSet, LossGradients, Training
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

STUDENT = parse_arch("stem_k3_s22_o8 r1_k3_s11_e1_i8_o8 head_o16_d0")
TEACHER = parse_arch("stem_k3_s22_o8 r1_k3_s11_e2_i8_o16 head_o16_d0.5")
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]], dtype=torch.float64)
WANTED = torch.tensor([[0.2, 1.0, -3.0], [4.0, 0.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


class Fixed(torch.nn.Module):
    def forward(self, images):
        return WANTED


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize(("weight", "temperature"), [(0.5, 4.0), (1.0, 1.0), (0.1, 20.0)])
def test_loss_and_gradient(weight, temperature):
    """KL and its gradient written out: (1 - w) (p - y) + w T (p_T - q_T), a mean over images (arXiv 1503.02531, eq. 2)."""
    logits = LOGITS.clone().requires_grad_()
    hard = F.cross_entropy(logits, LABELS)
    loss = Distillation(Fixed(), weight, temperature).loss(hard, logits, torch.zeros(2))
    loss.backward()

    s, t, y = LOGITS.numpy(), WANTED.numpy(), np.eye(3)[LABELS]
    p, q = softmax(s / temperature), softmax(t / temperature)
    cross_entropy = -(y * np.log(softmax(s))).sum(1).mean()
    divergence = (q * (np.log(q) - np.log(p))).sum(1).mean()
    assert loss.item() == pytest.approx((1 - weight) * cross_entropy + weight * temperature**2 * divergence)
    gradient = ((1 - weight) * (softmax(s) - y) + weight * temperature * (p - q)) / 2
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-9, atol=1e-12)


def test_a_student_that_answers_like_its_teacher_loses_nothing():
    logits = WANTED.clone().requires_grad_()
    loss = Distillation(Fixed(), 1.0, 3.0).loss(F.cross_entropy(logits, LABELS), logits, torch.zeros(2))
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def build(arch, seed=0):
    return build_module(lower(arch, 8, 3), seed)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (24,), generator=generator)
    return ImageSet(images.to(memory_format=torch.channels_last), labels, (0.5,) * 3, (0.3,) * 3)


def test_the_teacher_stays_as_it_is(data):
    """Weights, BN statistics, mode; and no gradient is kept for it."""
    teacher = build(TEACHER, seed=5)
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    student = build(STUDENT)
    gradients = LossGradients(student, distillation=Distillation(teacher))
    training = Training(student, data, TrainingRecipe(epochs=2, batch_size=8), 0, gradients)
    training.next_epoch()
    training.next_epoch()
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert not any(part.training for part in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert student.training


def test_the_student_learns_its_teacher_s_answers(data):
    """At weight 1 the labels count for nothing: the student agrees with the teacher, not with them."""
    teacher = build(TEACHER, seed=5).eval()
    with torch.no_grad():
        # a fresh classifier says next to nothing
        teacher.get_parameter("classifier.linear.weight").mul_(300)
        answers = teacher(data.normalised(data.images)).argmax(1)
    student = build(STUDENT)
    recipe = TrainingRecipe(epochs=40, batch_size=8)
    gradients = LossGradients(student, distillation=Distillation(teacher, weight=1.0, temperature=1.0))
    training = Training(student, data, recipe, 0, gradients)
    first = training.next_epoch().loss
    while training.num_epochs < recipe.epochs:
        last = training.next_epoch().loss
    assert last < 0.3 * first
    with torch.no_grad():
        found = student.eval()(data.normalised(data.images)).argmax(1)
    assert (found == answers).float().mean() > 0.8
    assert (answers == data.labels).float().mean() < 0.6
