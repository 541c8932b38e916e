# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0
