# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""torchaudio is imported in one place, at first use, and its failures say what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest
import torch

import monai_usspeech
from monai_usspeech.transforms import _torchaudio

PACKAGE = Path(monai_usspeech.__file__).parent
FAILURES = {
    "OSError": "Could not load this library: _torchaudio.abi3.so",
    "RuntimeError": "PyTorch and TorchAudio were compiled with different CUDA versions",
    "ImportError": "DLL load failed",
}


def _broken_torchaudio(folder: Path, kind: str) -> Path:
    (folder / "torchaudio").mkdir(parents=True)
    (folder / "torchaudio" / "__init__.py").write_text(f"raise {kind}({FAILURES[kind]!r})\n")
    return folder


def test_one_module_imports_torchaudio() -> None:
    pattern = re.compile(r"^\s*(import|from) torchaudio|import_module\(.torchaudio", re.MULTILINE)
    users = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text())]
    assert users == ["transforms/_torchaudio.py"]


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_every_failure_names_the_installed_pair_and_the_remedy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.syspath_prepend(str(_broken_torchaudio(tmp_path, kind)))
    with pytest.raises(RuntimeError) as caught:
        _torchaudio.require_torchaudio()
    message = str(caught.value)
    assert f"{kind}: {FAILURES[kind]}" in message
    assert f"torch {metadata.version('torch')}" in message
    assert f"torchaudio {metadata.version('torchaudio')}" in message
    assert "pip install 'torchaudio==" in message or "'torch==2.11.*' 'torchaudio==2.11.0'" in message


@pytest.mark.parametrize(
    ("torch_version", "advice"),
    [
        ("2.9.1", "pip install 'torchaudio==2.9.*'"),
        ("2.11.0+cpu", "pip install 'torchaudio==2.11.0'"),
        ("2.15.0+cu132", "pip install 'torch==2.11.*' 'torchaudio==2.11.0'"),
        ("nightly", "pip install 'torch==2.11.*' 'torchaudio==2.11.0'"),
    ],
)
def test_advice_is_a_pair_that_exists(torch_version: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": torch_version}

    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(_torchaudio, "version", version)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(RuntimeError) as caught:
        _torchaudio.require_torchaudio()
    assert str(caught.value).endswith(advice)
    assert f"torchaudio (not installed) does not load beside torch {torch_version}" in str(caught.value)


@pytest.mark.slow
def test_the_package_loads_without_torchaudio_and_fails_at_use(tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "from monai_usspeech.transforms.order import FrameShuffle\n"
        "from monai_usspeech.transforms.spectrogram import LogSpectrogram\n"
        "spectrogram = LogSpectrogram()\n"
        "print(FrameShuffle()(torch.rand(4, 1, 2, 2))[1] in range(12))\n"
        "spectrogram(torch.rand(14400))\n"
    )
    path = os.pathsep.join([str(_broken_torchaudio(tmp_path, "OSError")), str(PACKAGE.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert run.stdout == "True\n", run.stderr
    assert run.stderr.strip().splitlines()[-1].startswith("RuntimeError: Speech spectrograms need torchaudio")


@pytest.mark.parametrize("center", [True, False])
def test_power_spectrogram_is_the_squared_stft(center: bool) -> None:
    assert import_module("torchaudio")
    wave = torch.randn(2, 3, 4000, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(240)
    got = _torchaudio.power_spectrogram(wave, window, 512, 120, center)
    reference = torch.stft(
        wave.reshape(6, -1), 512, 120, 240, window, center=center, pad_mode="reflect", return_complex=True
    )
    expected = reference.real**2 + reference.imag**2
    torch.testing.assert_close(got.reshape(6, *got.shape[2:]), expected, rtol=0, atol=0)
