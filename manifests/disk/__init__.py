"""Files and folders on disk: durable writing, locks, deletion of our own files only."""
