"""Settings from audio: effects whose dry signal is known, whole consoles, and blind estimates."""
