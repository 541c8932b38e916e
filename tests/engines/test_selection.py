# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.selection import selects_on_test


def test_the_test_fold_chooses_only_where_the_result_says_so():
    assert not selects_on_test("last") and not selects_on_test("last", "hico_code")
    assert selects_on_test("best_test_epoch", "hico_code")
    with pytest.raises(InputError, match=r"selection: .*hico_code\.json"):
        selects_on_test("best_test_epoch")


def test_a_wrong_word_is_told_with_the_nearest():
    with pytest.raises(InputError, match='^selection: .*Did you mean "last"'):
        selects_on_test("lst")
    with pytest.raises(InputError, match='^protocol: .*Did you mean "hico_code"'):
        selects_on_test("last", "hico_cod")
