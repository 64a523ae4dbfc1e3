"""Analysis: a mixture is separated into stems, and stems are measured."""
