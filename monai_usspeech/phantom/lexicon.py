# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the phantom's sonographer can say, spelt in phones, and what each phone sounds like.

Vowel formants follow Peterson & Barney, "Control methods used in a study of the vowels", JASA 24(2), 1952 (means of
men); consonants are a small table of loci, noise bands and durations in the manner of Klatt, JASA 67(3), 1980.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHATTER_WORDS", "ORGAN_WORDS", "PHONES", "PLANE_WORDS", "Phone", "phones_of"]


@dataclass(frozen=True)
class Phone:
    """Targets of one phone.

    Args:
        seconds: length at the normal rate.
        formants: F1, F2, F3 in Hz of an average man.
        voice: amplitude of the voiced source. hiss: amplitude of the noise source.
        band: centre and width of the noise in Hz. glide: formants at the end (diphthongs); None keeps them.
    """

    seconds: float
    formants: tuple[float, float, float]
    voice: float = 1.0
    hiss: float = 0.0
    band: tuple[float, float] = (2500.0, 2500.0)
    glide: tuple[float, float, float] | None = None


_VOWELS = {
    "IY": (0.13, (270, 2290, 3010)), "IH": (0.09, (390, 1990, 2550)), "EH": (0.10, (530, 1840, 2480)),
    "AE": (0.13, (660, 1720, 2410)), "AA": (0.14, (730, 1090, 2440)), "AO": (0.14, (570, 840, 2410)),
    "UH": (0.09, (440, 1020, 2240)), "UW": (0.13, (300, 870, 2240)), "AH": (0.09, (640, 1190, 2390)),
    "ER": (0.13, (490, 1350, 1690)), "AX": (0.06, (500, 1450, 2450)),
}  # fmt: skip
_GLIDING = {
    "AY": (0.17, (710, 1150, 2450), (330, 2100, 2800)), "EY": (0.16, (480, 1900, 2500), (320, 2200, 2850)),
    "OW": (0.16, (540, 950, 2350), (330, 850, 2250)), "AW": (0.17, (720, 1250, 2450), (370, 900, 2250)),
}  # fmt: skip

PHONES: dict[str, Phone] = {
    **{name: Phone(seconds, formants) for name, (seconds, formants) in _VOWELS.items()},
    **{name: Phone(seconds, start, glide=end) for name, (seconds, start, end) in _GLIDING.items()},
    # nasals, liquids and glides: voiced, weak, with their own formants
    "M": Phone(0.07, (250, 1100, 2200), 0.45),
    "N": Phone(0.06, (250, 1650, 2500), 0.45),
    "NG": Phone(0.07, (250, 2100, 2600), 0.45),
    "L": Phone(0.06, (350, 1050, 2800), 0.6),
    "R": Phone(0.06, (350, 1200, 1600), 0.6),
    "W": Phone(0.06, (300, 700, 2200), 0.6),
    "Y": Phone(0.06, (270, 2200, 3000), 0.6),
    # fricatives
    "S": Phone(0.10, (320, 1600, 2500), 0.0, 0.55, (6500, 2200)),
    "Z": Phone(0.08, (280, 1600, 2500), 0.35, 0.35, (6500, 2200)),
    "SH": Phone(0.10, (320, 1800, 2500), 0.0, 0.6, (3600, 1500)),
    "F": Phone(0.09, (320, 1100, 2200), 0.0, 0.22, (6000, 5000)),
    "V": Phone(0.06, (280, 1100, 2200), 0.4, 0.12, (5500, 5000)),
    "TH": Phone(0.08, (320, 1400, 2500), 0.0, 0.2, (7000, 4500)),
    "DH": Phone(0.04, (280, 1400, 2500), 0.4, 0.08, (6000, 4500)),
    "HH": Phone(0.06, (500, 1500, 2500), 0.0, 0.3, (1800, 2500)),
    # stops: a closure ("_" silent, "=" with voice bar) is put before their burst by :func:`phones_of`
    "P": Phone(0.03, (350, 900, 2200), 0.0, 0.5, (900, 1200)),
    "B": Phone(0.015, (300, 900, 2200), 0.4, 0.35, (800, 1000)),
    "T": Phone(0.035, (350, 1750, 2600), 0.0, 0.65, (4800, 2500)),
    "D": Phone(0.018, (300, 1700, 2600), 0.4, 0.4, (4200, 2200)),
    "K": Phone(0.04, (350, 1900, 2300), 0.0, 0.6, (2100, 1100)),
    "G": Phone(0.02, (300, 1900, 2300), 0.4, 0.4, (2000, 1000)),
    "CH": Phone(0.08, (350, 1800, 2500), 0.0, 0.65, (3600, 1600)),
    "JH": Phone(0.06, (300, 1800, 2500), 0.3, 0.45, (3400, 1600)),
    "_": Phone(0.055, (300, 1500, 2400), 0.0),
    "=": Phone(0.045, (220, 1300, 2300), 0.12),
    "pau": Phone(0.07, (400, 1450, 2400), 0.0),
}

#: plane -> (what is said, phones)
PLANE_WORDS: dict[str, tuple[str, str]] = {
    "3VT": ("three vessels", "TH R IY pau V EH S AX L Z"), "4CH": ("four chambers", "F AO R pau CH EY M B ER Z"),
    "abdomen": ("abdomen", "AE B D AX M EH N"), "femur": ("femur", "F IY M ER"),
    "BrainTv": ("ventricles", "V EH N T R IH K AX L Z"), "kidneys": ("kidneys", "K IH D N IY Z"),
    "LVOT": ("aorta", "EY AO R T AX"), "lips": ("lips", "L IH P S"), "profile": ("profile", "P R OW F AY L"),
    "RVOT": ("pulmonary", "P UH L M AX N EH R IY"), "BrainTc": ("cerebellum", "S EH R AX B EH L AX M"),
    "SpineCor": ("coronal", "K AO R OW N AX L"), "SpineSag": ("sagittal", "S AE JH IH T AX L"),
}  # fmt: skip

#: organ words, as in ``anatomy.ORGANS``
ORGAN_WORDS: dict[str, tuple[str, str]] = {
    "heart": ("heart", "HH AA R T"), "brain": ("brain", "B R EY N"), "tummy": ("tummy", "T AH M IY"),
    "leg": ("leg", "L EH G"), "face": ("face", "F EY S"), "spine": ("spine", "S P AY N"),
}  # fmt: skip

#: words that say nothing about the picture
CHATTER_WORDS: tuple[tuple[str, str], ...] = (
    ("okay", "OW K EY"), ("lovely", "L AH V L IY"), ("moving", "M UW V IH NG"), ("baby", "B EY B IY"),
    ("there", "DH EH R"), ("now", "N AW"), ("just", "JH AH S T"), ("looking", "L UH K IH NG"),
    ("little", "L IH T AX L"), ("good", "G UH D"), ("hello", "HH AX L OW"), ("yes", "Y EH S"),
    ("measure", "M EH SH ER"), ("again", "AX G EH N"),
    ("here", "HH IH R"), ("nice", "N AY S"), ("really", "R IY L IY"), ("today", "T AX D EY"), ("weeks", "W IY K S"),
    ("turn over", "T ER N pau OW V ER"), ("breathe", "B R IY DH"), ("still", "S T IH L"), ("big", "B IH G"),
    ("wonderful", "W AH N D ER F AX L"), ("let me see", "L EH T pau M IY pau S IY"), ("relax", "R IY L AE K S"),
    ("doing well", "D UW IH NG pau W EH L"), ("cold gel", "K OW L D pau JH EH L"), ("happy", "HH AE P IY"),
    ("wait", "W EY T"), ("sleepy", "S L IY P IY"), ("minute", "M IH N IH T"),
)  # fmt: skip

_CLOSURE = {"P": "_", "T": "_", "K": "_", "CH": "_", "B": "=", "D": "=", "G": "=", "JH": "="}


def phones_of(spelling: str) -> list[Phone]:
    """The phones of a spelling, with the closure that precedes each stop.

    Args:
        spelling: names from :data:`PHONES` separated by spaces.
    """
    phones = []
    for name in spelling.split():
        if name in _CLOSURE:
            phones.append(PHONES[_CLOSURE[name]])
        phones.append(PHONES[name])
    return phones
