"""A report: one HTML file about a corpus that opens anywhere, with numbers, charts, what was refused, and pairs to listen to."""

from __future__ import annotations

from stemwright.datagen.report.page import report_html

__all__ = ["report_html"]
