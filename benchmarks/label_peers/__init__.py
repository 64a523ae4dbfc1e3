"""Effects of other libraries for the audit of labels, one file a library: ``stemwright evaluate labels --model FILE:effects``.

Each file has a function ``effects`` that returns the library's effects by name, with what is measured of each setting and whose words its
meaning is. They are peers for measurements; the package imports none of them.
"""
