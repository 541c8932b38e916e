# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The two-stream pretraining network (Jiao et al., MICCAI 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monai_usspeech.networks.backbones import create_backbone
from monai_usspeech.networks.heads import CorrespondenceHead, OrderHead, ProjectionHead

__all__ = ["VideoSpeechNet"]


class VideoSpeechNet(nn.Module):
    """Video stream and speech stream with the heads of the three pretraining tasks.

    The streams share their architecture and no weights. Only the parts that the chosen tasks use are built, so that
    every parameter receives a gradient (distributed training requires it).

    =============== ==================================== ======================== ==============================
    part            built when                           reads                    gives
    =============== ==================================== ======================== ==============================
    video stream    always                               frames, order frames     feature map, pooled vector
    speech stream   ``correspondence`` or ``contrastive`` both speech spectrograms pooled vector
    correspondence  ``correspondence``                   pooled vectors           ``"correspondence"``
    projection(s)   ``contrastive``                      pooled vectors           ``"video" "speech" "negative"``
    order head      ``order``                            video feature map        ``"order"``
    view projection ``views``                            pooled vectors           ``"views"``
    =============== ==================================== ======================== ==============================

    Args:
        backbone: name in :data:`monai_usspeech.networks.backbones.BACKBONES`.
        output_stride: 8, 16 or 32; see :func:`~monai_usspeech.networks.backbones.se_resnext50`.
        in_channels: channels of frames and spectrograms.
        embedding_dim: length D of the contrastive embeddings.
        projection: ``"shared"``, one h(.) for both streams as the paper writes it, or ``"separate"``.
        pairs: whether there are video-speech pairs at all; False switches correspondence and contrastive off.
        order: build the frame-order head.
        order_head: ``"pairwise"`` or ``"concat"``; see :class:`~monai_usspeech.networks.heads.OrderHead`.
        order_symmetric: whether the order label is the same when the frames are shown backwards: yes for labels with
            ``reversal="shown"``, no for ``"time"``.
        correspondence: build the correspondence classifier.
        contrastive: build the projection heads.
        views: build a projection of its own for the contrast among the frames of clips, which needs no speech.
        backbone_options: further arguments of the backbone, such as ``{"width": 12}`` for ``"se_resnext_small"``.

    Raises:
        ValueError: for an unknown name, or when the options leave nothing to train.

    Example:
        >>> net = VideoSpeechNet("se_resnext_small", embedding_dim=32)
        >>> images, shuffled = torch.zeros(2, 3, 1, 64, 64), torch.zeros(2, 4, 1, 64, 64)
        >>> prediction = net(frames=images, speech_pos=images, speech_neg=images, order_frames=shuffled)
        >>> prediction["correspondence"].shape, prediction["video"].shape, prediction["order"].shape
        (torch.Size([2, 3, 2, 2]), torch.Size([2, 3, 32]), torch.Size([2, 12]))
    """

    def __init__(
        self,
        backbone: str = "se_resnext50",
        output_stride: int = 16,
        in_channels: int = 1,
        embedding_dim: int = 128,
        projection: str = "shared",
        pairs: bool = True,
        order: bool = True,
        order_head: str = "pairwise",
        order_symmetric: bool = True,
        correspondence: bool = True,
        contrastive: bool = True,
        backbone_options: Mapping[str, Any] | None = None,
        views: bool = False,
    ) -> None:
        super().__init__()
        if projection not in ("shared", "separate"):
            raise ValueError(f'projection must be "shared" or "separate", got {projection!r}.')
        correspondence, contrastive = pairs and correspondence, pairs and contrastive
        if not (order or correspondence or contrastive or views):
            raise ValueError("correspondence, contrastive, order and views are all off: there is nothing to train.")
        options = {"in_channels": in_channels, "output_stride": output_stride, **(backbone_options or {})}
        self.in_channels = in_channels
        self.video_stream = create_backbone(backbone, **options)
        features = self.num_features = int(self.video_stream.num_features)
        self.speech_stream = create_backbone(backbone, **options) if correspondence or contrastive else None
        self.correspondence = CorrespondenceHead(features) if correspondence else None
        self.video_projection = ProjectionHead(features, embedding_dim) if contrastive else None
        self.speech_projection = (
            ProjectionHead(features, embedding_dim) if contrastive and projection == "separate" else None
        )
        self.order = OrderHead(features, head=order_head, symmetric=order_symmetric) if order else None
        self.view_projection = ProjectionHead(features, embedding_dim) if views else None

    def forward(
        self,
        frames: Tensor | None = None,
        speech_pos: Tensor | None = None,
        speech_neg: Tensor | None = None,
        order_frames: Tensor | None = None,
        speech_used: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Run the parts whose inputs are given.

        ``frames`` and ``order_frames`` pass the video stream as one batch, and both spectrograms pass the speech stream
        as one batch: positives and negatives then share their batch statistics, which could otherwise give the label
        away.

        Args:
            frames: ``[B, K, C, H, W]``, K frames of each clip.
            speech_pos: ``[B, K, C, H, W]``, spectrograms of the speech that belongs to those frames, or ``[B, 1, C, H,
                W]``, one for all frames of its clip.
            speech_neg: spectrograms of the hard negatives, as many.
            order_frames: ``[B, 4, C, H, W]``, four frames in the order in which they are shown.
            speech_used: bool ``[B, K]`` or ``[B, 1]``, the windows whose speech is given: ``speech_pos`` and
                ``speech_neg`` then hold those alone, ``[n, C, H, W]`` in their order. The features of the others are
                zero.

        Returns:
            ``"correspondence"`` logits ``[B, K, 2, 2]`` (axis 2: 0 = positive pair, 1 = negative pair; last axis: 0 =
            no match, 1 = match); ``"video"``, ``"speech"``, ``"negative"`` embeddings ``[B, K, D]``; ``"views"``
            embeddings ``[B, K, D]`` of the frames; ``"order"`` logits ``[B, 12]``. A key is there only when its part
            is built and its inputs are given.

        Raises:
            ValueError: when shapes do not fit together, or an input belongs to a part that was not built.
        """
        self._check(frames, *(_in_place(speech, speech_used) for speech in (speech_pos, speech_neg)), order_frames)
        prediction: dict[str, Tensor] = {}
        video, order_maps = self._video(frames, order_frames)
        speech, negative = self._speech(speech_pos, speech_neg, speech_used)
        if video is not None:  # one window serves all frames of its clip
            speech, negative = (part if part is None else part.expand_as(video) for part in (speech, negative))
        if self.correspondence is not None and video is not None and speech is not None and negative is not None:
            prediction["correspondence"] = self.correspondence(
                torch.stack((video, video), dim=2), torch.stack((speech, negative), dim=2)
            )
        if self.video_projection is not None:
            for name, features in (("video", video), ("speech", speech), ("negative", negative)):
                if features is not None:
                    prediction[name] = self.project(features, "video" if name == "video" else "speech")
        if self.view_projection is not None and video is not None:
            prediction["views"] = self.view_projection(video)
        if self.order is not None and order_maps is not None:
            prediction["order"] = self.order(order_maps)
        return prediction

    def project(self, features: Tensor, stream: str) -> Tensor:
        """Contrastive embeddings ``[..., D]`` of pooled features ``[..., F]`` of one stream.

        Args:
            features: global average of a stream's feature map.
            stream: ``"video"`` or ``"speech"``; both have the same projection unless ``projection="separate"``.

        Raises:
            ValueError: when the network has no projection.
        """
        if self.video_projection is None:
            raise ValueError("this network has no projection: build it with pairs=True and contrastive=True.")
        head = self.speech_projection if stream == "speech" else None
        embedding: Tensor = (head or self.video_projection)(features)
        return embedding

    def _video(self, frames: Tensor | None, order_frames: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Pooled features ``[B, K, F]`` of the frames and feature maps ``[B, 4, F, h, w]`` of the order frames."""
        given = [images for images in (frames, order_frames) if images is not None]
        if not given:
            return None, None
        maps = self.video_stream.forward_features(torch.cat([images.flatten(0, 1) for images in given]))
        n_frames = 0 if frames is None else frames.shape[0] * frames.shape[1]
        video, order = None, None
        if frames is not None:
            video = maps[:n_frames].mean(dim=(2, 3)).unflatten(0, frames.shape[:2])
        if order_frames is not None:
            order = maps[n_frames:].unflatten(0, order_frames.shape[:2])
        return video, order

    def _speech(
        self, positive: Tensor | None, negative: Tensor | None, used: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Pooled features ``[B, windows, F]`` of both speech inputs."""
        given = [images for images in (positive, negative) if images is not None]
        if not given or self.speech_stream is None:
            return None, None
        rows = [images if used is not None else images.flatten(0, 1) for images in given]
        maps = self.speech_stream.forward_features(torch.cat(rows))
        features = maps.mean(dim=(2, 3)).unflatten(0, (len(given), -1))
        if used is None:
            features = features.unflatten(1, given[0].shape[:2])
        else:
            everywhere = features.new_zeros(len(given), *used.shape, features.shape[-1])
            everywhere[:, used] = features
            features = everywhere
        pooled = iter(features)
        return None if positive is None else next(pooled), None if negative is None else next(pooled)

    def _check(self, frames: Tensor | None, *others: Tensor | None) -> None:
        """Refuse inputs that do not fit together, with both sides' shapes."""
        names = ("frames", "speech_pos", "speech_neg", "order_frames")
        given = {name: images for name, images in zip(names, (frames, *others)) if images is not None}
        for name, images in given.items():
            if images.ndim != 5 or images.shape[2] != self.in_channels:
                raise ValueError(f"{name} must be [B, n, {self.in_channels}, H, W], got {tuple(images.shape)}.")
        pairs = {name: tuple(images.shape) for name, images in given.items() if name != "order_frames"}
        if self.view_projection is not None and list(pairs) == ["frames"]:
            pairs = {}  # frames are read without speech too
        if pairs and self.speech_stream is None:
            raise ValueError(f"{', '.join(pairs)} given, but the network was built without video-speech pairs.")
        groups = {shape[:2] for name, shape in pairs.items() if name != "frames"}
        if "frames" in pairs and groups != {(pairs["frames"][0], 1)}:  # one window may serve all frames of its clip
            groups.add(pairs["frames"][:2])
        if len(groups) > 1:
            raise ValueError(
                "frames and spectrograms must agree in clips and groups [B, K], or there must be one spectrogram a clip"
                f" [B, 1], got {pairs}."
            )
        if "order_frames" in given:
            if self.order is None:
                raise ValueError("order_frames given, but the network was built with order=False.")
            if given["order_frames"].shape[1] != OrderHead.FRAMES:
                raise ValueError(f"order_frames must hold 4 frames per clip, got {tuple(given['order_frames'].shape)}.")
        for batch in (("frames", "order_frames"), ("speech_pos", "speech_neg")):
            shapes = {name: tuple(given[name].shape) for name in batch if name in given}
            if len({shape[2:] for shape in shapes.values()}) > 1:
                raise ValueError(f"{' and '.join(batch)} pass as one batch, so their sizes must agree, got {shapes}.")


def _in_place(speech: Tensor | None, used: Tensor | None) -> Tensor | None:
    """Speech as ``[B, K, C, H, W]``, for the check of shapes alone: of some pairs, a view of zeros."""
    if speech is None or used is None:
        return speech
    if used.ndim != 2 or speech.ndim != 4 or int(used.sum()) != len(speech):
        raise ValueError(
            f"speech must be [n, C, H, W] with the n pairs of speech_used [B, K], got {tuple(speech.shape)} and"
            f" {tuple(used.shape)} with {int(used.sum())} true."
        )
    return speech.new_zeros(()).expand(*used.shape, *speech.shape[1:])
