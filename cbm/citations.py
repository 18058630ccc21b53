"""Who to cite: a BibTeX entry for each method, and for the encoder family where there is one."""

from collections.abc import Sequence

from cbm.errors import unknown

ENTRIES = {
    "posthoc": """@inproceedings{yuksekgonul2023posthoc,
  title = {Post-hoc Concept Bottleneck Models},
  author = {Yuksekgonul, Mert and Wang, Maggie and Zou, James},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}""",
    "labo": """@inproceedings{yang2023language,
  title = {Language in a Bottle: Language Model Guided Concept Bottlenecks for Interpretable Image Classification},
  author = {Yang, Yue and Panagopoulou, Artemis and Zhou, Shenghao and Jin, Daniel and Callison-Burch, Chris and
            Yatskar, Mark},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2023}
}""",
    "dncbm": """@inproceedings{rao2024discover,
  title = {Discover-then-Name: Task-Agnostic Concept Bottlenecks via Automated Concept Discovery},
  author = {Rao, Sukrut and Mahajan, Sweta and B{\\"o}hle, Moritz and Schiele, Bernt},
  booktitle = {European Conference on Computer Vision},
  year = {2024}
}""",
    "v2c": """@inproceedings{he2025v2c,
  title = {{V2C-CBM}: Building Concept Bottlenecks with Vision-to-Concept Tokenizer},
  author = {He, Hangzhou and Zhu, Lei and Zhang, Xinliang and Zeng, Shuang and Chen, Qian and Lu, Yanye},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2025}
}""",
    "sparse": """@misc{semenov2024sparse,
  title = {Sparse Concept Bottleneck Models: Gumbel Tricks in Contrastive Learning},
  author = {Semenov, Andrei and Ivanov, Vladimir and Beznosikov, Aleksandr and Gasnikov, Alexander},
  year = {2024},
  eprint = {2404.03323},
  archiveprefix = {arXiv}
}""",
    "ecbm": """@inproceedings{xu2024energy,
  title = {Energy-Based Concept Bottleneck Models: Unifying Prediction, Concept Intervention, and Probabilistic
           Interpretations},
  author = {Xu, Xinyue and Qin, Yi and Mi, Lu and Wang, Hao and Li, Xiaomeng},
  booktitle = {International Conference on Learning Representations},
  year = {2024}
}""",
    "labelfree": """@inproceedings{oikarinen2023label,
  title = {Label-Free Concept Bottleneck Models},
  author = {Oikarinen, Tuomas and Das, Subhro and Nguyen, Lam M. and Weng, Tsui-Wei},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}""",
    "linear-probe": """@inproceedings{alain2017understanding,
  title = {Understanding Intermediate Layers Using Linear Classifier Probes},
  author = {Alain, Guillaume and Bengio, Yoshua},
  booktitle = {International Conference on Learning Representations, Workshop Track},
  year = {2017}
}""",
    "zero-shot": """@inproceedings{radford2021learning,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and
            Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and
            Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year = {2021}
}""",
    "test-time fix": """@inproceedings{he2025training,
  title = {Training-free Test-time Improvement for Explainable Medical Image Classification},
  author = {He, Hangzhou and others},
  booktitle = {Medical Image Computing and Computer Assisted Intervention},
  year = {2025},
  note = {arXiv:2506.18070}
}""",
}
SAME_PAPER = {"posthoc-hybrid": "posthoc", "cms": "sparse"}


def bibtex(works: Sequence[str]) -> str:
    """The BibTeX entries of methods (and of "test-time fix"), each once, in the order given.

    Raises
    ------
    UnknownName
        If one of them is not known.

    Examples
    --------
    >>> bibtex(["posthoc", "posthoc-hybrid"]).splitlines()[0]
    '@inproceedings{yuksekgonul2023posthoc,'
    """
    chosen: dict[str, str] = {}
    for work in works:
        key = SAME_PAPER.get(work, work)
        if key not in ENTRIES:
            raise unknown("work to cite", work, (*ENTRIES, *SAME_PAPER))
        chosen[key] = ENTRIES[key]
    return "\n\n".join(chosen.values()) + "\n"
