# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Scans as files and as a prepared store, and training samples from them."""

from __future__ import annotations

from monai_usspeech.data.annotations import (
    PLANES,
    GazeTrack,
    PlaneInterval,
    StandardPlane,
    plane_at,
    read_gaze,
    read_planes,
)
from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.clip_files import list_clip_files
from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.duplicates import DuplicateImages, find_duplicates, merge_duplicate_groups
from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError, atomic_file, nearest_name, read_json, write_json
from monai_usspeech.data.folds import check_disjoint, subject_folds
from monai_usspeech.data.frame_batches import BalancedBatchSampler
from monai_usspeech.data.frame_views import FrameViewDataset
from monai_usspeech.data.frames import FrameDataset
from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.image_set_command import image_set_table, write_image_set
from monai_usspeech.data.image_set_dataset import ImageSetDataset
from monai_usspeech.data.image_set_layouts import build_image_set
from monai_usspeech.data.image_set_splits import image_set_split
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.data.plane_frames import PlaneDataset
from monai_usspeech.data.plane_names import PULSE_NAMES, SONONET_NAMES, SONONET_PLANES, standard_plane
from monai_usspeech.data.readers import UltrasoundVideoReader, UltraSuiteReader, register_readers
from monai_usspeech.data.retrieval_pairs import RetrievalDataset
from monai_usspeech.data.speech import SpeechTrack, is_digital_silence, read_speech, speech_on_video_time
from monai_usspeech.data.splits import SubjectSplit, subject_split
from monai_usspeech.data.store import ScanStore, ScanStoreWriter, StoredScan
from monai_usspeech.data.synchronisation_pairs import SynchronisationDataset, synchronisation_split
from monai_usspeech.data.tongue_command import tongue_table, write_tongue_datalist
from monai_usspeech.data.tongue_corpora import read_tongue_corpora
from monai_usspeech.data.video import VideoFrame, VideoInfo, VideoSource, open_video

__all__ = [
    "BalancedBatchSampler",
    "ClipBatchSampler",
    "ClipDataset",
    "DuplicateImages",
    "FanVideoReader",
    "FrameDataset",
    "FrameViewDataset",
    "GazeDataset",
    "GazeTrack",
    "ImageSetDatalist",
    "ImageSetDataset",
    "InputError",
    "LabelledImage",
    "PLANES",
    "PULSE_NAMES",
    "PlaneDataset",
    "PlaneInterval",
    "RetrievalDataset",
    "SONONET_NAMES",
    "SONONET_PLANES",
    "Scan",
    "ScanDatalist",
    "ScanStore",
    "ScanStoreWriter",
    "SpeechTrack",
    "StandardPlane",
    "StoredScan",
    "SubjectSplit",
    "SynchronisationDataset",
    "UltraSuiteReader",
    "UltrasoundVideoReader",
    "VideoFrame",
    "VideoInfo",
    "VideoSource",
    "atomic_file",
    "build_image_set",
    "check_disjoint",
    "find_duplicates",
    "image_set_split",
    "image_set_table",
    "is_digital_silence",
    "list_clip_files",
    "merge_duplicate_groups",
    "nearest_name",
    "open_video",
    "plane_at",
    "read_gaze",
    "read_json",
    "read_planes",
    "read_speech",
    "read_tongue_corpora",
    "register_readers",
    "speech_on_video_time",
    "standard_plane",
    "subject_folds",
    "subject_split",
    "synchronisation_split",
    "tongue_table",
    "write_image_set",
    "write_json",
    "write_tongue_datalist",
]
