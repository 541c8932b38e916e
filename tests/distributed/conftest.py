# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from tests.distributed.processes import one_and_two


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """What the module's ``cases`` give in one process with the whole batch, and in each of two."""
    return one_and_two(request.module.cases, tmp_path_factory.mktemp("ranks"))
