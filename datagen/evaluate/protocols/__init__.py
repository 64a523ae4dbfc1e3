"""The protocols of ``stemwright evaluate``: one file each."""
