"""The words of Pellucid and its metrics, each in a sentence or two with formula and source; shown on hover and in Help."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A measured number: its title, what it says with its formula, where it comes from, and which way is better."""

    title: str
    meaning: str
    source: str
    better: Literal["higher", "lower", "read"]
    share: bool = True

    @property
    def help(self) -> str:
        """What is shown on hover."""
        return f"{self.meaning} {self.source}".strip()


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "Accuracy", "Share of images whose most probable class is the labelled one; Wilson interval.", "", "higher"
    ),
    "balanced_accuracy": Metric(
        "Balanced accuracy",
        "Mean over classes of the share of the class's images that are recognised; bootstrap interval.",
        "Brodersen et al., ICPR 2010.",
        "higher",
    ),
    "macro_f1": Metric("Macro F1", "Mean over classes of 2 TP / (2 TP + FP + FN); bootstrap interval.", "", "higher"),
    "worst_group_accuracy": Metric(
        "Worst group",
        "Accuracy of the group of images on which it is lowest, with that group's own size n. Groups of fewer than ten "
        "images are left out and named.",
        "Sagawa et al., ICLR 2020.",
        "higher",
    ),
    "ece": Metric(
        "Calibration error",
        "Expected calibration error: mean distance of confidence from accuracy over 15 bins of confidence.",
        "Guo et al., ICML 2017.",
        "lower",
    ),
    "brier": Metric(
        "Brier score",
        "Mean squared distance of the probabilities from the truth, summed over classes: 0 is perfect, 2 the worst.",
        "Brier, 1950.",
        "lower",
        share=False,
    ),
    "concept_auroc_mean": Metric(
        "Concept AUROC",
        "Mean over annotated concepts of how well the score tells images with the concept from images without: 0.5 is "
        "chance, 1 perfect; DeLong interval.",
        "DeLong et al., 1988.",
        "higher",
        share=False,
    ),
    "nec": Metric(
        "NEC",
        "Number of effective concepts: mean count a class of weights that are not zero. Fewer are easier to read, and "
        "models are fairly compared at the same NEC.",
        "Srivastava et al., VLG-CBM, NeurIPS 2024.",
        "read",
        share=False,
    ),
    "anec_5": Metric(
        "ANEC-5",
        "Accuracy with five effective concepts a class: a sparse head solved again on the concept scores, or the model's "
        "own head cut where it was never fitted or was edited; Wilson interval.",
        "Srivastava et al., VLG-CBM, NeurIPS 2024.",
        "higher",
    ),
    "anec_avg": Metric(
        "ANEC-avg",
        "Mean accuracy at 5, 10, 15, 20, 25 and 30 effective concepts a class; bootstrap interval. With few concepts their "
        "names have to carry the decision; with many, random ones do as well.",
        "Srivastava et al., VLG-CBM, NeurIPS 2024.",
        "higher",
    ),
    "random_anec_5": Metric(
        "ANEC-5 of random concepts",
        "Control: accuracy with five of as many random directions a class. If it is near ANEC-5, the names carry nothing.",
        "Srivastava et al., VLG-CBM, NeurIPS 2024.",
        "read",
    ),
    "random_anec_avg": Metric(
        "ANEC-avg of random concepts",
        "Control: mean accuracy at 5 to 30 of as many random directions a class.",
        "Srivastava et al., VLG-CBM, NeurIPS 2024.",
        "read",
    ),
    "residual_share": Metric(
        "Residual share",
        "Share of the variance of the logits that comes from the residual and not from concepts.",
        "Yuksekgonul et al., ICLR 2023, PCBM-h.",
        "lower",
    ),
    "linear_probe_accuracy": Metric(
        "Linear probe",
        "Control: accuracy of logistic regression on the same embeddings without concepts. What concepts cost is the "
        "distance to it.",
        "Alain and Bengio, 2016.",
        "read",
    ),
    "random_concept_accuracy": Metric(
        "Random concepts",
        "Control: the same method on as many random directions. If it does as well, the names of the concepts explain "
        "little of the accuracy.",
        "",
        "read",
    ),
    "shuffled_label_accuracy": Metric(
        "Shuffled labels",
        "Control: the same method when the labels of the training images, and whose sentences are whose, mean nothing. "
        "Above chance, something leaks.",
        "",
        "read",
    ),
}

TRUST: dict[str, Metric] = {
    "beyond_concept": Metric(
        "Told beyond the concepts",
        "Mean over concepts of I(score; class | concept) / H(class): what a score tells of the class among images on which "
        "its concept is the same, less what shuffled scores seem to tell. Interval over concepts.",
        "",
        "lower",
    ),
    "ctl": Metric(
        "CTL",
        "Concepts-task leakage: mean over concepts of max(0, I(score; class) - I(concept; class)) / H(class).",
        "Parisini et al., arXiv 2504.14094.",
        "lower",
    ),
    "icl": Metric(
        "ICL",
        "Interconcept leakage: what a score tells of another concept beyond what its own does, as a share of what there is "
        "to tell; mean over pairs.",
        "Parisini et al., arXiv 2504.14094.",
        "lower",
    ),
    "ois": Metric(
        "Impurity (OIS)",
        "How far the scores' AUROCs for all concepts are from those of the annotations: 0 is pure, 1 the most.",
        "Espinosa Zarlenga et al., AAAI 2023.",
        "lower",
        share=False,
    ),
    "extra_information": Metric(
        "Bits beyond all concepts",
        "Bits that all scores together tell of the class beyond all annotations together, by logistic regression on held-out "
        "images; not above 0 when nothing leaks.",
        "",
        "lower",
        share=False,
    ),
    "task_information": Metric(
        "I(C; Y)",
        "Bits that all scores together tell of the class, at least: the entropy of the classes less the cross-entropy of a "
        "logistic regression. By chance: the same with shuffled labels.",
        "Barber and Agakov, NeurIPS 2003.",
        "read",
        share=False,
    ),
    "class_entropy": Metric("H(Y)", "Bits that there are to tell of the class.", "", "read", share=False),
    "passed_information": Metric(
        "I(X; C)",
        "Bits of the image that pass the bottleneck at most, when each score is read with an error of a tenth of its spread: "
        "log2 det(I + R / 0.01) / 2. By chance: if no score told anything of another.",
        "Cover and Thomas, chapter 9.",
        "read",
        share=False,
    ),
    "completeness": Metric(
        "Completeness",
        "(accuracy of the best head on the scores - chance) / (accuracy of a linear probe - chance).",
        "Yeh et al., NeurIPS 2020.",
        "higher",
    ),
    "concept_set_auc": Metric(
        "Concept-set AUC",
        "Mean completeness over growing sets of concepts, the most used first.",
        "Yeh et al., NeurIPS 2020.",
        "higher",
    ),
    "comprehensiveness": Metric(
        "Comprehensiveness",
        "Mean loss of the decision's probability without its 1 to 50 % most important concepts. By chance: without as many "
        "at random.",
        "DeYoung et al., ACL 2020.",
        "higher",
    ),
    "sufficiency": Metric(
        "Sufficiency",
        "Mean loss of the decision's probability with nothing but its 1 to 50 % most important concepts. By chance: with as "
        "many at random.",
        "DeYoung et al., ACL 2020.",
        "lower",
    ),
    "deletion_gap": Metric(
        "Deletion gap",
        "Area between deleting concepts at random and by importance: 0 for an explanation that says nothing.",
        "After Petsiuk et al., BMVC 2018.",
        "higher",
    ),
    "relevance_mass": Metric(
        "Relevance on the part",
        "Share of a map's positive values on the concept's part, mean over concepts. By chance: the part's share of the area.",
        "Arras et al., 2022.",
        "higher",
    ),
    "pointing_game": Metric(
        "Pointing game",
        "Share of maps whose highest place is on the part, or at most half a place beside it. By chance: the share of the "
        "image that counts.",
        "Zhang et al., IJCV 2018.",
        "higher",
    ),
    "clm": Metric(
        "CLM, rank form",
        "Concept location metric: share of the image that the map puts below the part's middle; 0.5 is chance.",
        "After Aysel et al., arXiv 2501.19271.",
        "higher",
        share=False,
    ),
    "cgim": Metric(
        "CGIM, centred",
        "Correlation over classes of a concept's weights with its true frequency; mean over concepts.",
        "After Aysel et al., arXiv 2501.19271.",
        "higher",
        share=False,
    ),
    "cem_positive": Metric(
        "CEM-existence, positive evidence",
        "Of the 5 concepts that speak most for a decision by being there, the share that is there.",
        "After Aysel et al., arXiv 2501.19271.",
        "higher",
    ),
    "cem_truthful": Metric(
        "CEM-existence, truthful",
        "Of the 5 concepts that count most, there or not, the share of which the model says the truth.",
        "After Aysel et al., arXiv 2501.19271.",
        "higher",
    ),
    "cem_published": Metric(
        "CEM-existence, as published",
        "Of the 5 concepts that count most, the share that is there; takes evidence from absence for a false claim.",
        "Aysel et al., arXiv 2501.19271.",
        "read",
    ),
}

VERDICTS: dict[str, str] = {
    "doubtful name": "Its score does not tell the concept that it is named after, or tells another one better.",
    "wrong place": "Its relevance does not lie on the part that it is about.",
    "leaks": "Its score tells much of the class beyond its concept.",
    "hardly used": "Decisions are the same without it.",
    "unchecked": "Nothing is known against it, and nothing says that its name is right: it is not annotated.",
    "holds": "Its name is right as far as could be checked, and decisions use it.",
}

CONTROLS = ("linear_probe_accuracy", "random_concept_accuracy", "shuffled_label_accuracy")

TRAINING: dict[str, Metric] = {
    "loss": Metric("Loss", "What the training lowers, a mean over the images.", "", "lower", share=False),
    "explained_variance": Metric(
        "Explained variance",
        "Share of the embeddings' variance that the reconstruction has: 1 - sum |x - r|² / sum |x - mean|².",
        "",
        "higher",
    ),
    "l0": Metric("L0", "Atoms an image: codes that are not zero, on average.", "", "read", share=False),
    "dead": Metric("Dead atoms", "Share of the atoms that no image used.", "Bricken et al., 2023.", "lower"),
}

WORDS: dict[str, str] = {
    "Embedding": "The list of numbers that an encoder makes of a picture or a text. Similar pictures get similar lists.",
    "Encoder": "The network that makes embeddings, such as a CLIP. Pellucid does not change it.",
    "Contract": "One hash of an encoder's weights and preprocessing. Embeddings, banks and models carry it, so that they "
    "are never mixed up.",
    "Concept": "Something that people have a word for and that a picture can show: *striped wing*, *water*.",
    "CAV": "Concept activation vector: a direction in the space of embeddings along which a concept grows.",
    "Concept bank": "Named vectors, each with where it came from and how good it is.",
    "Score": "How strongly a concept shows in a picture. In most methods: standard deviations above the average image.",
    "Bottleneck": "The step from embedding to concept scores. Everything that the decision knows passes through it.",
    "Head": "The step from concept scores to classes: a weight for each concept and class, and a bias.",
    "Logit": "A class's sum before it is turned into a probability: bias plus all contributions.",
    "Contribution": "Score times weight: what a concept adds to a class's logit on one picture. Bias, contributions and "
    "residual add up to the logit exactly.",
    "Concept map": "What each place of a picture adds to a concept's score. All places and a rest add up to the score. It "
    "tells what the model used, not where the concept is.",
    "Attention head": "A part of a transformer's layer that takes from each place of the picture as much as it pays attention to "
    "it. Closed, it gives what it gives on average, whatever it sees.",
    "Rollout": "Attention of all layers multiplied: where information can come from. The same for every concept.",
    "Probe": "A small classifier on the tokens of one layer. It tells whether a concept can be read off there, not whether the "
    "model reads it.",
    "Control task": "The same probe asked for labels that mean nothing: whole classes drawn at random. What the probe does better "
    "on the concept is its selectivity.",
    "Residual": "What a hybrid adds straight from the embedding, past the concepts. It has no name; its share is shown.",
    "Intervention": "Telling the model what a concept's score on one picture should be, and watching the decision.",
    "Intervention curve": "Accuracy against the number of concepts that an expert has corrected on each picture. A policy says "
    "which concept comes next; the area under the curve, its mean height, says how good the policy is.",
    "Edit": "A lasting change of the model, for every picture: prune, reweight, rename, merge, drop. Kept in a list that "
    "can be undone, redone and branched.",
    "Test-time fix": "An edit for a new place, found from a few labelled pictures without training: misactivated concepts are "
    "masked, faint ones amplified. It is kept on a branch of its own, so that the source keeps its model.",
    "Misactivated": "Of a concept in a new place: it rises in classes that should lack it, a third of the way or more to what it "
    "is where it is present. Under-activated: it falls as far where it should be present, or follows its pattern faintly.",
    "NEC": "Number of effective concepts: how many a class really uses, on average.",
    "AUROC": "The chance that a picture with the concept scores higher than one without: 0.5 is guessing, 1 is perfect.",
    "Leakage": "What a concept's score tells of the class beyond the concept. A model that leaks may be right for reasons that "
    "it does not name.",
    "Faithfulness": "Whether a decision falls when the concepts that explain it are taken away, and faster than without any others.",
    "Completeness": "How much of what the embeddings tell of the class is left in the concepts.",
    "p-value": "How often numbers like these would come about if nothing were behind them.",
    "Interval": "The range in which the true value lies in 95 of 100 such measurements. Few images, wide interval.",
    "Control": "The same measurement with the meaning taken out, to read the real one against: random concepts, shuffled "
    "labels, or no concepts at all.",
    "Split": "Which part of the work a picture is for: learning (train), choosing settings (val), judging (test).",
    "Group": "Pictures that belong together beside their class: a patient, a camera, a background.",
    "Atom": "A direction of a dictionary that a sparse autoencoder has learned: few of them add up to each embedding. It is "
    "found without words and named afterwards.",
    "Fingerprint": "A hash of a model's contents. Two models with the same one are the same model.",
    "Bundle": "A model as a folder or zip of safetensors and JSON, with checksums and its list of edits. Nothing in it is "
    "ever executed.",
}


def title_of_metric(name: str) -> str:
    """What a metric is called on screens, cards and reports."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ").capitalize()
