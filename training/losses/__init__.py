"""What the network is trained on: stateless differentiable sums, and the module that weighs them."""

from napari_softseg.training.losses.terms import entropy, labelled, potts, self_labelling
from napari_softseg.training.losses.training_loss import LossTerms, TrainingLoss

__all__ = ["LossTerms", "TrainingLoss", "entropy", "labelled", "potts", "self_labelling"]
