"""ONNX files of the kinds that people bring, small; each with inputs for it, and where they count samples."""

from __future__ import annotations

from tests.builder import onnx_taken, onnx_written

KINDS = onnx_written.KINDS | onnx_taken.KINDS
