# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which epoch's weights of an image-set run are kept, and what may be said of the result."""

from __future__ import annotations

from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["OPTIMISTIC", "PROTOCOLS", "SELECTIONS", "selects_on_test"]

PROTOCOLS = ("clean", "hico_code")
"""``"clean"``: nothing is chosen on the test fold; ``"hico_code"``: the evaluation as HiCo's code was released."""

SELECTIONS = ("last", "best_test_epoch")
"""Keep the weights of the last epoch, or of the epoch that was best on the test fold."""

OPTIMISTIC = (
    "The epoch was chosen by its accuracy on the test fold, as in the released code of HiCo: these numbers are"
    " optimistic, and not to be compared with those of another selection."
)
"""What must be said beside a result whose epoch was chosen on the test fold."""


def selects_on_test(selection: str, protocol: str = "clean") -> bool:
    """Whether the test fold chooses the epoch.

    Args:
        selection: one of :data:`SELECTIONS`.
        protocol: one of :data:`PROTOCOLS`; what the result will be called.

    Raises:
        InputError: for another word, and when a choice on the test fold would be called clean.
    """
    for name, value, known in (("selection", selection, SELECTIONS), ("protocol", protocol, PROTOCOLS)):
        if value not in known:
            words = " nor ".join(f'"{word}"' for word in known)
            raise InputError(f'{name}: "{value}" is neither {words}.{nearest_name(str(value), known)}')
    if selection == "best_test_epoch" and protocol == "clean":
        raise InputError(
            'selection: "best_test_epoch" chooses on the test fold, and the protocol is "clean"; give "last", or lay'
            " configs/downstream/hico_code.json over the configuration."
        )
    return selection == "best_test_epoch"
