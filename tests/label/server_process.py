# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The real server as a process, on SYNTHETIC clips of every kind that it serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import requests
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from monai_usspeech.data.video import open_video
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.networks import SaliencyNet, VideoSpeechNet
from monai_usspeech.phantom.writer import generate_phantom
from tests.data.media_factory import make_video

__all__ = ["REPOSITORY", "ServerProcess", "make_models", "make_studies"]

REPOSITORY = Path(__file__).parents[2]
_START_SECONDS = 90


def make_studies(folder: Path, n_scans: int = 4, seconds: float = 6.0) -> Path:
    """A studies folder: SYNTHETIC scans as MP4 with their speech beside them, and the first one as every other kind."""
    generated = folder.parent / "phantom"
    generate_phantom(generated, n_scans, seconds=seconds, frame_rate=10.0, size=128, seed=5, progress=False, workers=1)
    folder.mkdir()
    videos = sorted(generated.rglob("*.mp4"))
    assert len(videos) == n_scans
    for video in videos:
        for file in (video, video.with_suffix(".wav")):
            (folder / file.name).write_bytes(file.read_bytes())
    with open_video(videos[0]) as source:
        frames = np.stack([frame.image for frame in source.frames()][:20])
    make_video(folder / "cine_avi.avi", fps=10, size=(frames.shape[2], frames.shape[1]), frames=list(frames))
    image = nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([0.5, 0.5, 1.0, 1.0]))
    image.header["pixdim"][4] = 0.1
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, folder / "cine_nifti.nii.gz")
    _write_dicom(folder / "cine_dicom.dcm", frames)
    Image.fromarray(frames[0]).save(folder / "still.png")
    return folder


def _write_dicom(path: Path, frames: np.ndarray) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UltrasoundMultiFrameImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.NumberOfFrames = "US", len(frames)
    data.Rows, data.Columns = frames.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.FrameTime, data.FrameIncrementPointer = 100.0, 0x00181063
    data.PixelData = frames.tobytes()
    data.save_as(path, enforce_file_format=True)


def make_models(folder: Path) -> dict[str, Path]:
    """Weights of a gaze network and of a pretrained pair of streams, both small and random, with their facts."""
    folder.mkdir()
    torch.manual_seed(0)
    common = {"backbone": "se_resnext_small", "output_stride": 16, "size": 64, "frame_mean": 0.5, "frame_std": 0.25}
    gaze = {**common, "mode": "finetune", "map_size": [16, 16], "standardise": "fixed"}
    write_weights(
        folder / "gaze.pt",
        SaliencyNet("se_resnext_small", map_size=(16, 16)).state_dict(),
        {"method": "random", "subjects": [], "settings": gaze},
    )
    network = VideoSpeechNet("se_resnext_small", projection="separate")
    write_weights(
        folder / "pretrained.pt", network.state_dict(), {"method": "plus", "subjects": [], "settings": common}
    )
    return {"gaze_model": folder / "gaze.pt", "pretrained": folder / "pretrained.pt"}


class ServerProcess:
    """``python -m monai_usspeech.label start`` on a free port; a context manager that ends it.

    Args:
        studies: the clips.
        options: further words of the command line.
    """

    def __init__(self, studies: Path, options: Sequence[str]) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = studies.parent / f"server_{self.port}.log"
        self._command = [sys.executable, "-m", "monai_usspeech.label", "start", "--studies", str(studies)]
        self._command += ["--port", str(self.port), *options]

    def __enter__(self) -> ServerProcess:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.log.parent
            )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self.log.read_text()}")
            try:
                requests.get(f"{self.url}/info/", timeout=5)
                return self
            except requests.ConnectionError:
                time.sleep(0.2)
        self._process.kill()
        raise RuntimeError(f"the server does not answer:\n{self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def request(self, method: str, path: str, **arguments: object) -> requests.Response:
        """Ask the server."""
        return requests.request(method, self.url + path, timeout=120, **arguments)  # type: ignore[arg-type]

    def wait_for(self, what: str, seconds: float = 100.0) -> dict:
        """The task of ``/train/`` or ``/scoring/`` once it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.request("GET", f"/{what}/")
            if answer.status_code == 200 and answer.json().get("status") in ("DONE", "ERROR", "STOPPED"):
                found: dict = answer.json()
                return found
            time.sleep(0.3)
        raise RuntimeError(f"{what} has not ended:\n{self.log.read_text()[-4000:]}")
