# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.networks import read_checkpoint, se_resnext_small


class Unsafe:
    def __reduce__(self):
        return (print, ("code was run",))


def test_unreadable_files_give_one_clear_error(tmp_path, capsys):
    torch.save(se_resnext_small().state_dict(), tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "truncated.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not tensors")
    torch.save({"network": Unsafe()}, tmp_path / "unsafe.pt")
    for name in ("truncated.pt", "empty.pt", "text.safetensors", "unsafe.pt"):
        with pytest.raises(ValueError, match=f"{name}: not a checkpoint of plain tensors, or a damaged one"):
            read_checkpoint(tmp_path / name)
    assert "code was run" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds something else") as caught:
        read_checkpoint(tmp_path / "unsafe.pt")
    assert "weights_only" not in str(caught.value)  # torch's advice is not for this package's users
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no named tensors; its keys are epoch"):
        read_checkpoint(tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match="no such checkpoint file"):
        read_checkpoint(tmp_path / "absent.pt")
