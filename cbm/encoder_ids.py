"""What an encoder's id says beside which encoder: `builtin:photo:bf16`, `open_clip:ViT-B-32/openai:int8:fast-decode`.

The same weights in another precision, or on images decoded in another way, make other embeddings. They are an encoder of
their own, with an id of its own, so that whoever loads an encoder by the id beside some embeddings gets the one that made them.
"""

from dataclasses import dataclass
from typing import get_args

from cbm.preprocessing import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FAST_DECODE = ":fast-decode"


@dataclass(frozen=True)
class EncoderId:
    """An encoder's id in its parts; `str` puts them together again.

    Attributes
    ----------
    plain
        The id without what follows.
    precision
        Named where it is not `"fp32"`.
    fast_decode
        See `cbm.preprocessing.Preprocessing`.

    Examples
    --------
    >>> EncoderId.parse("builtin:photo:bf16")
    EncoderId(plain='builtin:photo', precision='bf16', fast_decode=False)
    >>> str(EncoderId("timm:resnet18", "int8", fast_decode=True))
    'timm:resnet18:int8:fast-decode'
    """

    plain: str
    precision: Precision = "fp32"
    fast_decode: bool = False

    @classmethod
    def parse(cls, id: str) -> "EncoderId":
        """The parts of an id; what is not a part that we know stays in `plain`."""
        rest = id.removesuffix(FAST_DECODE)
        for precision in PRECISIONS:
            if rest.endswith(f":{precision}"):
                return cls(rest.removesuffix(f":{precision}"), precision, rest != id)
        return cls(rest, fast_decode=rest != id)

    def __str__(self) -> str:
        precision = "" if self.precision == "fp32" else f":{self.precision}"
        return self.plain + precision + (FAST_DECODE if self.fast_decode else "")
