"""Mean field in an energy model: the probability of every concept when the class is summed over exactly.

Given the class, the concepts meet only in the hidden units of the global energy. A hidden unit is a sum over concepts,
so under independent concepts it is close to normal, and the mean of its ReLU is known in closed form: an update of all
concepts costs two products with the table of concepts, for any number of classes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

STEPS = 8  # updates
SMALLEST = 1e-6  # variance of a hidden unit
NORMAL = 0.3989422804014327  # density of the standard normal at 0


@dataclass(frozen=True)
class Coupling:
    """The global energy as a table; `h` hidden units.

    Attributes
    ----------
    start
        Hidden units, before their ReLU, when every concept is absent, `[h]`.
    change
        What the presence of each concept adds to them, `[k h]`.
    table
        Energy of every class for each unit, `[c h]`.
    """

    start: Float[Tensor, "h"]
    change: Float[Tensor, "k h"]
    table: Float[Tensor, "c h"]

    def energy(self, c: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Energies where concepts are present (1), absent (0), or mixed."""
        return torch.relu(torch.addmm(self.start, c, self.change)) @ self.table.T

    def mean_energy(self, q: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Mean energies where concepts are independently present with these probabilities."""
        return self.moments(q)[0] @ self.table.T

    def slope(
        self, q: Float[Tensor, "n k"], by_mean: Float[Tensor, "n h"], by_variance: Float[Tensor, "n h"]
    ) -> Float[Tensor, "n k"]:
        """Derivative by the probability of each concept, from those by the hidden units' means and variances."""
        return by_mean @ self.change.T + (by_variance @ self.change.square().T) * (1 - 2 * q)

    def moments(
        self, q: Float[Tensor, "n k"]
    ) -> tuple[Float[Tensor, "n h"], Float[Tensor, "n h"], Float[Tensor, "n h"]]:
        """Mean of each unit after its ReLU, and its derivatives by the mean and the variance before it."""
        mean = torch.addmm(self.start, q, self.change)
        spread = ((q * (1 - q)) @ self.change.square() + SMALLEST).sqrt()
        z = mean / spread
        above, density = torch.special.ndtr(z), NORMAL * torch.exp(-z * z / 2)
        return mean * above + spread * density, above, density / (2 * spread)


def mean_field(
    evidence: Float[Tensor, "n k"],
    class_logits: Float[Tensor, "n c"],
    coupling: Coupling,
    *,
    mask: Bool[Tensor, "n k"],
    values: Float[Tensor, "n k"],
) -> Float[Tensor, "n k"]:
    """Probability that each concept is present; the masked ones are held at `values`.

    Parameters
    ----------
    evidence
        Log-odds of each concept by its own energy.
    class_logits
        Log-probability of each class by its own energy, up to a constant.

    Notes
    -----
    A fixed number of updates of all concepts at once, each halfway to what the others ask for: mean field makes strong
    dependence stronger, the more so the longer it runs.
    """
    q = torch.where(mask, values, torch.sigmoid(evidence))
    for _ in range(STEPS):
        hidden, by_mean, by_variance = coupling.moments(q)
        cost = torch.softmax(class_logits - hidden @ coupling.table.T, 1) @ coupling.table
        asked = torch.sigmoid(evidence - coupling.slope(q, cost * by_mean, cost * by_variance))
        q = torch.where(mask, values, (q + asked) / 2)
    return q
